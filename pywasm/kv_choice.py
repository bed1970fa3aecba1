"""Which chunks' KV a site ships where there is not room for all: those likely to be asked for.

Nobody knows what visitors will ask. Two things are known of it: the questions that the page itself
suggests, and where the corpus is dense, for a question about something said in many places finds
its neighbours. So half of the expected use is put on the suggestions, in equal shares, and half on
passages (all, or a sample) in the place of questions. A question's share goes to the chunks nearest
to it as 1, 1/2, 1/3: the prompt's first document is the one whose KV is taken from the site, and
mostly the nearest one is first. Chunks are taken by that share alone: reading a long one takes
longer, as its KV takes more bytes, so time saved for a byte is the share's.
"""

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
_NEAREST = 3
_SAMPLE = 4096  # passages that stand for questions
_BATCH = 256


def expected_use(vectors: F32, suggestions: F32, seed: int) -> npt.NDArray[np.float64]:
    """Share of questions, f64[chunks], that each chunk is expected to be the first document of.

    `vectors` f32[chunks, dim] and `suggestions` f32[questions, dim], of length 1. The shares add up
    to 1, or to 0 where there is one chunk and nothing suggested.
    """
    use = np.zeros(len(vectors))
    rows = np.random.default_rng(seed).permutation(len(vectors))[:_SAMPLE]
    neighbours = np.zeros(len(vectors))
    for first in range(0, len(rows), _BATCH):
        batch = rows[first : first + _BATCH]
        scores = vectors[batch] @ vectors.T
        scores[np.arange(len(batch)), batch] = -np.inf  # a passage does not ask for itself
        _share_out(scores, neighbours)
    if len(suggestions):
        _share_out(suggestions @ vectors.T, use)
    for shares in (use, neighbours):
        shares /= shares.sum() or 1
    total = use + neighbours
    return np.asarray(total / (total.sum() or 1), np.float64)


def _share_out(scores: F32, use: npt.NDArray[np.float64]) -> None:
    """Adds 1, 1/2, 1/3 to the best chunks of each question."""
    count = min(_NEAREST, scores.shape[1])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    for place in range(count):
        chosen = best[:, place]
        wanted = np.isfinite(np.take_along_axis(scores, chosen[:, None], 1)[:, 0])
        np.add.at(use, chosen[wanted], 1 / (place + 1))


def choose(
    use: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], limit: int | None
) -> list[int]:
    """Chunks by falling use while they fit into `limit` bytes; all of them for None.

    A chunk that nobody is expected to ask for is not taken where there is a limit.
    """
    order = np.argsort(-use, kind="stable")
    if limit is None:
        return [int(chunk) for chunk in order]
    chosen: list[int] = []
    for chunk in order:
        if use[chunk] > 0 and sizes[chunk] <= limit:
            limit -= int(sizes[chunk])
            chosen.append(int(chunk))
    return chosen

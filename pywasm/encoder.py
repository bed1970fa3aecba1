"""Texts to embeddings, natively with onnxruntime.

The embedding of a text does not depend on which texts are embedded with it: a batch holds texts
of exactly the same number of tokens, so nothing is padded, and each of its rows gives the same
bits as the text alone (tests/test_encoder.py).
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]
import tokenizers

from pywasm import models
from pywasm.bert_onnx import CONVERTER_VERSION, convert
from pywasm.cache_dir import cache_dir
from pywasm.encoder_config import EncoderConfig, read_config
from pywasm.errors import UserError
from pywasm.safetensors_dir import weight_files

F32 = npt.NDArray[np.float32]
_BATCH_TOKENS = 256  # beyond it a larger batch gains nothing, on one core
_RUN_TEXTS = 512  # texts tokenised at a time


class Encoder:
    """A tokenizer and a model. Threads run whole batches, one core each.

    `dim` is the length of an embedding; `key` names the encoder by the content of its files.
    """

    def __init__(
        self,
        name: str,
        model: Path,
        tokenizer: tokenizers.Tokenizer,
        config: EncoderConfig,
        sha256: str,
        threads: int = 0,
    ) -> None:
        self.name = name
        self.config = config
        self.sha256 = sha256
        self.key = f"{sha256[:32]}-{config.pooling}{'-n' * config.normalize}-{config.max_tokens}"
        self.threads = threads or len(_cores())
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.special_tokens = tokenizer.num_special_tokens_to_add(False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions share no public base
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{model}: onnxruntime can't load it ({reason})") from error
        self._inputs = {value.name for value in self._session.get_inputs()}
        unknown = self._inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or "input_ids" not in self._inputs:
            raise UserError(
                f"{model}: inputs {', '.join(sorted(self._inputs))}; expected input_ids, "
                "attention_mask and perhaps token_type_ids"
            )
        outputs = [value.name for value in self._session.get_outputs()]
        self._output = "last_hidden_state" if "last_hidden_state" in outputs else outputs[0]
        self.dim = int(self._run(self._ids([""])[0][None]).shape[1])

    def count_tokens(self, text: str) -> int:
        """Without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For each text (start, end) in characters of its tokens, without special ones."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.offsets for encoding in encodings]

    def embed_queries(self, texts: Sequence[str]) -> F32:
        """f32[len(texts), dim], with the query prefix."""
        return self._embed([self.config.query_prefix + text for text in texts], None)

    def embed_documents(
        self, texts: Sequence[str], on_done: Callable[[int], None] | None = None
    ) -> F32:
        """f32[len(texts), dim], with the document prefix; a text is cut at `max_tokens`.

        `on_done` is told of every finished batch how many texts it held, from this thread.
        """
        return self._embed([self.config.document_prefix + text for text in texts], on_done)

    def _embed(self, texts: list[str], on_done: Callable[[int], None] | None) -> F32:
        result = np.empty((len(texts), self.dim), np.float32)
        for first in range(0, len(texts), _RUN_TEXTS):
            part = texts[first : first + _RUN_TEXTS]
            self._embed_part(self._ids(part), result[first : first + len(part)], on_done)
        return result

    def _embed_part(
        self, ids: list[npt.NDArray[np.int64]], out: F32, on_done: Callable[[int], None] | None
    ) -> None:
        batches = _equal_lengths([len(row) for row in ids])
        with ThreadPoolExecutor(self.threads) as pool:
            runs = [
                pool.submit(self._run, np.stack([ids[row] for row in batch])) for batch in batches
            ]
            try:
                for batch, run in zip(batches, runs, strict=True):
                    out[batch] = run.result()
                    if on_done:
                        on_done(len(batch))
            except BaseException:  # Ctrl-C: don't run what is still queued
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _ids(self, texts: list[str]) -> list[npt.NDArray[np.int64]]:
        """Token ids, truncated with the closing special token kept."""
        rows = []
        for encoding in self._tokenizer.encode_batch(texts):
            ids = np.array(encoding.ids, np.int64)
            limit = self.config.max_tokens
            if len(ids) > limit:
                ids = np.concatenate([ids[: limit - 1], ids[-1:]])
            rows.append(ids)
        return rows

    def _run(self, ids: npt.NDArray[np.int64]) -> F32:
        """i64[batch, length] -> f32[batch, dim]."""
        feeds = {"input_ids": ids}
        if "attention_mask" in self._inputs:
            feeds["attention_mask"] = np.ones_like(ids)
        if "token_type_ids" in self._inputs:
            feeds["token_type_ids"] = np.zeros_like(ids)
        (hidden,) = self._session.run([self._output], feeds)
        states = np.asarray(hidden, np.float32)
        if states.ndim == 3:
            match self.config.pooling:
                case "mean":
                    states = states.mean(axis=1, dtype=np.float32)
                case "cls":
                    states = states[:, 0]
                case "max":
                    states = states.max(axis=1)
        if self.config.normalize:
            lengths = np.sqrt(np.einsum("ij,ij->i", states, states, dtype=np.float64))
            states = states / np.maximum(lengths, 1e-12)[:, None].astype(np.float32)
        return states


@dataclass(frozen=True)
class EncoderFiles:
    """Where an encoder lies: `model` is an .onnx file; `sha256` is of all that it came from."""

    name: str
    model: Path
    tokenizer: Path
    config: EncoderConfig
    sha256: str


def find_encoder(name: str = models.DEFAULT) -> EncoderFiles:
    """The files of a name (models.py): fetched, converted to ONNX and cached where needed."""
    path = models.find_model(name)
    directory = path if path.is_dir() else path.parent
    config = read_config(directory, name)
    if package := models.PACKAGES.get(name):
        config = EncoderConfig(**{**vars(config), "licence": package.licence, "url": package.url})
    tokenizer = _tokenizer_file(directory)
    load_tokenizer(tokenizer)  # before much work is put into the model beside it
    model = _onnx_of(path)
    if model is not None:
        return EncoderFiles(name, model, tokenizer, config, _sha256([model, tokenizer]))
    files = [directory / "config.json", tokenizer, *weight_files(directory)]
    sha256 = _sha256(files)
    return EncoderFiles(name, _converted(directory, sha256), tokenizer, config, sha256)


def load_encoder(name: str = models.DEFAULT, threads: int = 0) -> Encoder:
    """The encoder of a name, ready to run natively."""
    return open_files(find_encoder(name), threads)


def open_files(files: EncoderFiles, threads: int = 0) -> Encoder:
    """The encoder that lies there, ready to run natively."""
    tokenizer = load_tokenizer(files.tokenizer)
    return Encoder(files.name, files.model, tokenizer, files.config, files.sha256, threads)


def _onnx_of(path: Path) -> Path | None:
    """The .onnx file to run as it is: the path itself, or one in a directory without weights."""
    if path.is_file():
        if path.suffix != ".onnx":
            raise UserError(f"{path}: expected a model directory or an .onnx file")
        return path
    if not list(path.glob("model*.safetensors*")):
        for candidate in (path / "model.onnx", path / "onnx" / "model.onnx"):
            if candidate.is_file():
                return candidate
    return None


def _converted(directory: Path, sha256: str) -> Path:
    target = cache_dir() / "onnx" / f"{sha256[:32]}-v{CONVERTER_VERSION}.onnx"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            convert(directory, made)
            for file in sorted(Path(scratch).iterdir(), reverse=True):  # .onnx.data, then .onnx
                file.replace(target.parent / file.name)
    return target


def _tokenizer_file(directory: Path) -> Path:
    for folder in (directory, directory.parent):  # onnx/model.onnx has it one folder up
        if (folder / "tokenizer.json").is_file():
            return folder / "tokenizer.json"
    raise UserError(f"{directory}: no tokenizer.json beside the model")


def load_tokenizer(file: Path) -> tokenizers.Tokenizer:
    """Raises UserError for what is no tokenizer.json."""
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{file}: not a readable tokenizer ({error})") from error


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _equal_lengths(lengths: list[int]) -> list[list[int]]:
    """Row numbers in batches of equal length, the longest first so that threads end together."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        last = batches[-1] if batches else []
        same = last and lengths[last[0]] == lengths[row]
        if same and (len(last) + 1) * lengths[row] <= _BATCH_TOKENS:
            last.append(row)
        else:
            batches.append([row])
    return batches


def _cores() -> list[int]:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))

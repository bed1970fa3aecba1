"""hnswlib's index files (`Index.save_index`): vectors, labels, links and deletion marks.

The file is a memory dump of `HierarchicalNSW<float>` (hnswlib 0.8, `saveIndex`), little-endian,
from a 64-bit machine:

    u64 offsetLevel0, max_elements, cur_element_count, size_data_per_element, label_offset,
        offsetData;  i32 maxlevel;  u32 enterpoint_node;  u64 maxM, maxM0, M;  f64 mult;
    u64 ef_construction
    cur_element_count elements of size_data_per_element bytes: u16 count, u8 deleted, u8 0 and
        maxM0 u32 links (level 0), then the f32 vector, then the u64 label
    per element: u32 bytes of the upper lists (0 on level 0 only), then one list a level of
        4 + 4 maxM bytes: u16 count, two bytes, links

The file says neither metric nor dimension; the dimension follows from the room for the vector.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pywasm.errors import UserError

HEADER = struct.Struct("<6QiI3QdQ")
MAX_LEVELS = 32
_NO_ENTRY = 0xFFFFFFFF


@dataclass(frozen=True)
class HnswlibIndex:
    """What an index file holds. Elements keep hnswlib's internal numbers, 0 to len(labels) - 1.

    `links` are flat: those of element i on level l are
    `links[starts[first_list[i] + l] : starts[first_list[i] + l + 1]]`, element i having
    `first_list[i + 1] - first_list[i]` levels. Links may name deleted elements.
    """

    dim: int
    m: int
    ef_construction: int
    entry: int  # -1 where the index is empty
    vectors: npt.NDArray[np.float32]  # [rows, dim], on disk
    labels: npt.NDArray[np.uint64]  # [rows]
    deleted: npt.NDArray[np.bool_]  # [rows]
    links: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]  # [lists + 1]
    first_list: npt.NDArray[np.int64]  # [rows + 1]

    def levels(self, element: int) -> list[npt.NDArray[np.uint32]]:
        """The links of one element, level by level."""
        first, end = int(self.first_list[element]), int(self.first_list[element + 1])
        return [self.links[self.starts[at] : self.starts[at + 1]] for at in range(first, end)]


def read_hnswlib(file: Path, dim: int | None = None) -> HnswlibIndex:
    """Parse and check a whole index file; `dim`, where given, must be the file's.

    Raises UserError naming file, offset and expectation for anything that does not fit.
    """
    try:
        with file.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not a readable hnswlib index ({error})") from error
    return _Parser(file, data, dim).parse()


class _Parser:
    def __init__(self, file: Path, data: mmap.mmap, dim: int | None) -> None:
        self._file = file
        self._data = data
        self._dim = dim

    def parse(self) -> HnswlibIndex:
        self._header()
        self._elements()
        uppers = self._upper_lists()
        return self._collect(uppers)

    def _check(self, good: bool, offset: int, found: str, expected: str) -> None:
        if not good:
            raise UserError(
                f"{self._file}: not an hnswlib index: {found} at byte {offset:,}, "
                f"expected {expected}"
            )

    def _header(self) -> None:
        size = len(self._data)
        self._check(size >= HEADER.size, 0, f"{size:,} bytes", f"a header of {HEADER.size}")
        (offset_level0, most, count, stride, label, vector, max_level, entry) = HEADER.unpack_from(
            self._data
        )[:8]
        max_m, max_m0, m, mult, ef = HEADER.unpack_from(self._data)[8:]
        self._check(offset_level0 == 0, 0, f"offsetLevel0 {offset_level0}", "0")
        self._check(count <= most, 16, f"{count} elements", f"at most max_elements, {most}")
        self._check(2 <= m <= 256 and max_m == m, 56, f"maxM {max_m}, M {m}", "equal, 2 to 256")
        self._check(max_m0 == 2 * m, 64, f"maxM0 {max_m0}", f"{2 * m}, twice M")
        links = 4 + 4 * max_m0
        self._check(vector == links, 40, f"offsetData {vector}", f"{links}, after {max_m0} links")
        room = label - vector
        self._check(
            0 < room <= 4 * 65536 and room % 4 == 0,
            32,
            f"label_offset {label}",
            "a multiple of 4 bytes after offsetData: vectors of 32-bit floats",
        )
        found = room // 4
        if self._dim is not None and self._dim != found:
            raise UserError(f"{self._file}: vectors of {found} dimensions, expected {self._dim}")
        self._check(
            stride == label + 8,
            24,
            f"size_data_per_element {stride}",
            f"label_offset + 8 = {label + 8}",
        )
        self._check(1 <= ef <= 2**31, 88, f"ef_construction {ef}", "1 or more")
        self._check(mult > 0, 80, f"mult {mult}", "a positive number")
        end = HEADER.size + count * stride
        self._check(
            end <= size, size, "the end of the file", f"{count:,} elements, to byte {end:,}"
        )
        if count:
            self._check(
                0 <= max_level < MAX_LEVELS, 48, f"maxlevel {max_level}", f"0 to {MAX_LEVELS - 1}"
            )
            self._check(entry < count, 52, f"enterpoint_node {entry}", f"below {count}")
        else:
            self._check(max_level == -1, 48, f"maxlevel {max_level}", "-1 in an empty index")
        self._count, self._stride, self._m, self._ef = count, stride, m, ef
        self._found_dim, self._vector_at, self._label_at = found, vector, label
        self._max_level, self._entry = max_level, entry

    def _elements(self) -> None:
        base = HEADER.size
        elements = (
            np.frombuffer(self._data, np.dtype((np.void, self._stride)), self._count, base)
            if self._count
            else np.empty(0, np.dtype((np.void, self._stride)))
        )

        def field(kind: str, at: int, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
            layout = np.dtype(
                {
                    "names": ["x"],
                    "formats": [(kind, shape)],
                    "offsets": [at],
                    "itemsize": self._stride,
                }
            )
            values: npt.NDArray[np.generic] = elements.view(layout)["x"]
            return values

        self._counts0 = field("<u2", 0, ()).astype(np.int64)
        self._deleted = (field("<u1", 2, ()).astype(np.uint8) & 1).astype(bool)
        self._links0 = field("<u4", 4, (2 * self._m,)).astype(np.uint32)
        self._vectors = field("<f4", self._vector_at, (self._found_dim,))
        self._labels = field("<u8", self._label_at, ()).astype(np.uint64)

        def first(bad: npt.NDArray[np.bool_]) -> int:
            return int(np.argmax(bad))

        too_many = self._counts0 > 2 * self._m
        if too_many.any():
            i = first(too_many)
            self._check(
                False,
                base + i * self._stride,
                f"{self._counts0[i]} links of element {i}",
                f"at most {2 * self._m}",
            )
        used = np.arange(2 * self._m) < self._counts0[:, None]
        astray = (used & (self._links0 >= self._count)).any(axis=1)
        if astray.any():
            i = first(astray)
            self._check(
                False,
                base + i * self._stride,
                f"a link of element {i} past the last one",
                f"below {self._count}",
            )
        unique = np.unique(self._labels)
        if len(unique) < self._count:
            order = np.argsort(self._labels, kind="stable")
            again = int(order[1:][self._labels[order[1:]] == self._labels[order[:-1]]][0])
            self._check(
                False,
                base + again * self._stride + self._label_at,
                f"label {self._labels[again]} for the second time",
                "every label once",
            )

    def _upper_lists(self) -> list[list[npt.NDArray[np.uint32]]]:
        """The lists above level 0 of every element."""
        at, size = HEADER.size + self._count * self._stride, len(self._data)
        list_bytes = 4 + 4 * self._m
        uppers: list[list[npt.NDArray[np.uint32]]] = []
        for element in range(self._count):
            self._check(
                at + 4 <= size, size, "the end of the file", f"the upper links of element {element}"
            )
            (room,) = struct.unpack_from("<I", self._data, at)
            levels = room // list_bytes
            self._check(
                room % list_bytes == 0 and levels <= max(self._max_level, 0),
                at,
                f"{room} bytes of upper links of element {element}",
                f"a multiple of {list_bytes}, for at most {self._max_level} levels",
            )
            self._check(
                at + 4 + room <= size, size, "the end of the file", f"byte {at + 4 + room:,}"
            )
            lists = []
            for start in range(at + 4, at + 4 + room, list_bytes):
                (count,) = struct.unpack_from("<H", self._data, start)
                self._check(
                    count <= self._m,
                    start,
                    f"{count} links of element {element}",
                    f"at most {self._m}",
                )
                links = np.frombuffer(self._data, "<u4", count, start + 4).astype(np.uint32)
                self._check(
                    not (links >= self._count).any(),
                    start,
                    f"a link of element {element} past the last one",
                    f"below {self._count}",
                )
                lists.append(links)
            uppers.append(lists)
            at += 4 + room
        self._check(at == size, at, f"{size - at:,} more bytes", "the end of the file")
        if self._count:
            top = len(uppers[self._entry])
            self._check(
                top == self._max_level,
                52,
                f"enterpoint_node {self._entry} on level {top}",
                f"on the highest, {self._max_level}",
            )
        self._check_levels(uppers)
        return uppers

    def _check_levels(self, uppers: list[list[npt.NDArray[np.uint32]]]) -> None:
        heights = np.array([len(lists) for lists in uppers], np.int64)
        for element, lists in enumerate(uppers):
            for level, links in enumerate(lists, 1):
                if (heights[links] < level).any():
                    raise UserError(
                        f"{self._file}: not an hnswlib index: element {element} has a link on "
                        f"level {level} to one that does not reach it"
                    )

    def _collect(self, uppers: list[list[npt.NDArray[np.uint32]]]) -> HnswlibIndex:
        lists = [
            links
            for element in range(self._count)
            for links in (self._links0[element, : self._counts0[element]], *uppers[element])
        ]
        lengths = np.array([len(links) for links in lists], np.int64)
        heights = np.array([1 + len(upper) for upper in uppers], np.int64)
        return HnswlibIndex(
            dim=self._found_dim,
            m=self._m,
            ef_construction=self._ef,
            entry=self._entry if self._count else -1,
            vectors=self._vectors,  # type: ignore[arg-type]  # of field "<f4"
            labels=self._labels,
            deleted=self._deleted,
            links=np.concatenate(lists) if lists else np.empty(0, np.uint32),
            starts=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            first_list=np.concatenate([np.zeros(1, np.int64), np.cumsum(heights)]),
        )


def link_messages(
    index: HnswlibIndex, rows: npt.NDArray[np.int64], batch: int = 4096
) -> Iterator[bytes]:
    """The links as messages for `pw_build_links`, in the numbering of the index being built.

    `rows[element]` is the element's row there, or -1 where it is not taken (deleted ones): those
    get numbers from the number of rows on, and the engine removes them with repair.
    """
    numbers = np.array(rows, np.int64)
    left_out = numbers < 0
    numbers[left_out] = len(numbers) - int(left_out.sum()) + np.arange(int(left_out.sum()))
    table = numbers.astype(np.uint32)
    words: list[npt.NDArray[np.uint32]] = []
    for element in range(len(table)):
        levels = index.levels(element)
        words.append(np.array([table[element], len(levels)], np.uint32))
        for links in levels:
            words.append(np.array([len(links)], np.uint32))
            words.append(table[links])
        if (element + 1) % batch == 0 or element + 1 == len(table):
            yield np.concatenate(words).astype("<u4").tobytes()
            words = []

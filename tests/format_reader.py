"""A reader of index bytes written from docs/format.md alone: it shares no code with the engine.

It reads whole sections, not pages as they are needed, and is for tests: what it finds must be what
the engine finds, or one of the two does not do what the document says.
"""

from __future__ import annotations

import bisect
import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

PAGE = 16384
LEXICON, CENTROIDS, CODES, VECTORS, RECORDS, IDS, COLUMNS, GRAPH = range(1, 9)
Floats = npt.NDArray[np.float64]


class FormatError(Exception):
    """The bytes are not what the document says."""


def _splitmix64(seed: int) -> Iterator[int]:
    mask = 2**64 - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ seed >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        yield z ^ z >> 31


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _hadamard(x: Floats) -> Floats:
    stride, scale = 1, 1 / float(np.sqrt(len(x)))
    while stride < len(x):
        pairs = x.reshape(-1, 2, stride)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        stride *= 2
    return x * scale


@dataclass(frozen=True)
class Column:
    """Codes (-1: no value) or numbers (NaN: no value), one a row."""

    name: str
    values: npt.NDArray[np.int64] | Floats


class Reader:
    """An index: its head, and the bytes of all its pages."""

    def __init__(self, head: bytes, pages: bytes) -> None:
        self.pages = pages
        self.chunks = self._parse_head(head)
        fields = struct.unpack("<10IQ2i2I", self.chunks["INDX"])
        self.rows, self.dim, self.code_dim, self.metric, self.dtype, self.kind = fields[:6]
        self.code_bits, self.clusters, self.m, self.ef_construction, self.seed = fields[6:11]
        self.add_exponent, self.rescale_exponent, page_bytes, shard_pages = fields[11:]
        if (page_bytes, shard_pages) != (PAGE, 1024):
            raise FormatError(f"pages of {page_bytes} bytes, {shard_pages} a shard")
        self.sections: dict[int, bytes] = {}
        sums = np.frombuffer(self.chunks["SUMS"], "<u4")
        expected_page = 0
        for kind, first, count, zero, size in struct.iter_unpack("<4IQ", self.chunks["SECT"]):
            if first != expected_page or zero or not (count - 1) * PAGE < size <= count * PAGE:
                raise FormatError(f"section {kind}: pages {first} + {count}, {size} bytes")
            for index in range(count):
                page = pages[(first + index) * PAGE : (first + index + 1) * PAGE]
                digest = xxhash.xxh64_intdigest(page, kind << 32 | index)
                if digest & 0xFFFFFFFF != sums[first + index]:
                    raise FormatError(f"page {first + index}: checksum")
            self.sections[kind] = pages[first * PAGE : first * PAGE + size]
            if any(pages[first * PAGE + size : (first + count) * PAGE]):
                raise FormatError(f"section {kind}: its last page is not filled up with zeros")
            expected_page = first + count
        if expected_page * PAGE != len(pages) or len(sums) != expected_page:
            raise FormatError(f"{len(pages)} bytes, {len(sums)} checksums, {expected_page} pages")

    @staticmethod
    def _parse_head(head: bytes) -> dict[str, bytes]:
        magic, version, zero, size, zeros, checksum = struct.unpack_from("<4sHHIIQ", head)
        if (magic, version, zero, size, zeros) != (b"PWIX", 1, 0, len(head), 0):
            raise FormatError("the head's first 16 bytes")
        if xxhash.xxh64_intdigest(head[24:]) != checksum:
            raise FormatError("the head's checksum")
        chunks: dict[str, bytes] = {}
        at = 24
        while at < len(head):
            tag, length = struct.unpack_from("<4sI", head, at)
            chunks[tag.decode("ascii")] = head[at + 8 : at + 8 + length]
            at += 8 + length + -length % 4
        return chunks

    # --- vectors -------------------------------------------------------------------------

    def rotate(self, vector: Floats) -> Floats:
        """P v, [code_dim]."""
        x = np.zeros(self.code_dim)
        x[: self.dim] = vector
        draws = itertools.islice(_splitmix64(self.seed), -(-4 * self.code_dim // 64))
        bits = [draw >> bit & 1 for draw in draws for bit in range(64)]
        signs = 1.0 - 2.0 * np.array(bits[: 4 * self.code_dim]).reshape(4, -1)
        n = 1 << self.code_dim.bit_length() - 1
        half = self.code_dim // 2
        for r in range(4):
            x = x * signs[r]
            part = slice(self.code_dim - n, None) if r % 2 else slice(n)
            x[part] = _hadamard(x[part])
            if n < self.code_dim:
                x = np.concatenate([x[:half] + x[half:], x[:half] - x[half:]]) / np.sqrt(2)
        return x

    def _int8_rows(self, data: bytes, count: int) -> Floats:
        rows = np.frombuffer(data, [("scale", "<f4"), ("values", "i1", self.code_dim)], count)
        found: Floats = rows["scale"][:, None].astype(float) * rows["values"]
        return found

    def vectors(self) -> Floats:
        """[rows, dim], or of dtype int8 the rotated [rows, code_dim]."""
        size = (4 * self.dim, 2 * self.dim, 4 + self.code_dim)[self.dtype]
        a_page, data = PAGE // size, self.sections[VECTORS]
        parts = [
            data[page * PAGE : page * PAGE + min(a_page, self.rows - page * a_page) * size]
            for page in range(-(-self.rows // a_page))
        ]
        joined = b"".join(parts)
        if self.dtype == 2:
            return self._int8_rows(joined, self.rows)
        values = np.frombuffer(joined, "<f2" if self.dtype else "<f4").astype(float)
        return values.reshape(self.rows, self.dim)

    def scores(self, query: Floats) -> Floats:
        """Of every row: cosine, inner product or squared distance."""
        if self.metric == 0:
            query = query / np.linalg.norm(query)
        if self.dtype == 2:
            query = self.rotate(query)
        rows = self.vectors()
        return ((rows - query) ** 2).sum(axis=1) if self.metric == 2 else rows @ query

    def estimates(self, query: Floats) -> Floats:
        """What `scores` gives, estimated by each row's code."""
        query = self.rotate(query / np.linalg.norm(query) if self.metric == 0 else query)
        rows, bits, dims = np.arange(self.rows), self.code_bits, self.code_dim
        if self.kind == 3:
            size = bits * dims // 8 + 4
            size += -size % 4
            a_page = PAGE // size
            starts = rows // a_page * PAGE + rows % a_page * size
            data = np.frombuffer(self.sections[CODES], np.uint8)
            code = data[starts[:, None] + np.arange(size)]
            planes = code[:, : bits * dims // 8].reshape(-1, bits, dims // 8)
            bit = np.unpackbits(planes, axis=2, bitorder="little").astype(int)
            factors = np.ascontiguousarray(code[:, bits * dims // 8 :][:, :4]).view("<f2").T
        else:
            block = np.frombuffer(self.sections[CODES], np.uint8).reshape(-1, bits * dims * 4 + 128)
            nibbles = block[:, :-128].reshape(-1, bits, dims // 4, 16)
            both = np.concatenate([nibbles & 15, nibbles >> 4], axis=3)  # [block, bit, group, row]
            bit = (both[..., None] >> np.arange(4, dtype=np.uint8) & 1).transpose(0, 3, 1, 2, 4)
            bit = bit.reshape(-1, bits, dims)[: self.rows]
            tail = np.ascontiguousarray(block[:, -128:]).view("<f2").reshape(-1, 2, 32)
            factors = tail.transpose(1, 0, 2).reshape(2, -1)[:, : self.rows]
        u = (bit * (1 << np.arange(bits))[:, None]).sum(axis=1)
        x = u - (2**bits - 1) / 2
        add = factors[0].astype(float) * 2.0**self.add_exponent
        rescale = factors[1].astype(float) * 2.0**self.rescale_exponent
        firsts = np.frombuffer(self.chunks["CLUS"], "<u4")
        cluster = np.searchsorted(firsts, rows, side="right") - 1
        stored = self.sections[CENTROIDS] if self.kind == 2 else self.chunks["MEAN"]
        centroids = self._int8_rows(stored, self.clusters)
        squares = ((centroids - query) ** 2).sum(axis=1)
        g = squares if self.metric == 2 else -centroids @ query
        key: Floats = g[cluster] + add + rescale * (x @ query)
        return key if self.metric == 2 else -key

    # --- rows ----------------------------------------------------------------------------

    def record(self, row: int) -> tuple[str, str, bytes]:
        """Id, text, payload."""
        steps, at, data = [], 0, self.chunks["RECS"]
        while at < len(data):
            step, at = _varint(data, at)
            steps.append(step)
        firsts = list(itertools.accumulate(steps))
        page = bisect.bisect_left(firsts, row)
        if page == len(firsts) or firsts[page] > row:
            page -= 1
        place, data = page * PAGE, self.sections[RECORDS]
        for _ in range(firsts[page], row + 1):
            lengths = []
            at = place
            for _ in range(3):
                length, at = _varint(data, at)
                lengths.append(length)
            place = at + sum(lengths)
        text, payload = at + lengths[0], at + lengths[0] + lengths[1]
        return data[at:text].decode(), data[text:payload].decode(), data[payload:place]

    def row_of_id(self, id: str) -> int | None:
        """The row with this id."""
        data, entries = self.sections[IDS], []
        for start in range(0, len(data), PAGE):
            page = data[start : start + PAGE]
            entries += list(struct.iter_unpack("<QI", page[: min(len(page), 16380) // 12 * 12]))
        entries = entries[: self.rows]
        if entries != sorted(entries):
            raise FormatError("IDS: not in ascending order")
        wanted = xxhash.xxh64_intdigest(id.encode())
        for digest, row in entries[bisect.bisect_left(entries, (wanted, 0)) :]:
            if digest != wanted:
                break
            if self.record(row)[0] == id:
                return int(row)
        return None

    def columns(self) -> list[Column]:
        """All of them, in the order of their numbers."""
        data, found = self.chunks["COLS"], []
        (count,), at = struct.unpack_from("<I", data), 4
        for _ in range(count):
            number, width, page, _, _, _, zones, length = struct.unpack_from("<4I2d2I", data, at)
            name = data[at + 40 : at + 40 + length].decode()
            at += 40 + length + -length % 4 + 20 * zones
            kind = np.dtype(f"<f{width}" if number else f"<u{width}")
            raw = np.frombuffer(self.sections[COLUMNS], kind, self.rows, page * PAGE)
            values = raw.astype(float) if number else raw.astype(np.int64)
            if not number:
                values[values == 2 ** (8 * width) - 1] = -1
            found.append(Column(name, values))
        return found

    def terms(self) -> dict[str, list[int]]:
        """Every term and its rows. For small indexes: no list goes on to a page after its own."""
        data, found = self.sections[LEXICON], {}
        for start in range(0, len(data), PAGE):
            tail, entries = struct.unpack_from("<HH", data, start)
            at, term = start + 4 + tail, b""
            for _ in range(entries):
                shared, at = _varint(data, at)
                length, at = _varint(data, at)
                term, at = term[:shared] + data[at : at + length], at + length
                count, at = _varint(data, at)
                size, at = _varint(data, at + 1)
                rows, row, place = [], -1, at
                for _ in range(count):
                    step, place = _varint(data, place)
                    row += step + 1
                    rows.append(row)
                found[term.decode()] = rows
                if place + count != at + size:
                    raise FormatError(f"{term!r}: {size} bytes of postings")
                at += size
        return found

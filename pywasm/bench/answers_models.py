"""SmolLM2 as each engine takes it: the GGUF file, its Q8_0, two ONNX models, our plan."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tokenizers
from numpy.typing import NDArray

from pywasm.generator.gguf_file import GgufFile
from pywasm.generator.gguf_tokenizer import tokenizer_json

from . import answers_onnx
from .answers_onnx import BLOCK, EMBEDDING, Floats, Form, Matrix, Shape
from .answers_prompts import Texts, documentation
from .context import Bench
from .inference_models import link

MODEL = "smollm2"
CONTEXT = 2560  # of the ONNX models' tables of angles: more than any case's prompt


class Models:
    """Files below the folder that the benchmark's server serves, made when first asked for.
    Conversions of the weights are kept in the cache.
    """

    def __init__(self, bench: Bench, source: Path) -> None:
        self._bench = bench
        self._source = source
        self._folder = bench.work / MODEL
        self._folder.mkdir(exist_ok=True)
        # Written anew where what writes them is another.
        code = b"".join(Path(module).read_bytes() for module in (__file__, answers_onnx.__file__))
        self._cache = bench.cache / f"{source.stem}-{hashlib.sha256(code).hexdigest()[:16]}"
        self._cache.mkdir(parents=True, exist_ok=True)

    def url(self, file: Path) -> str:
        """Address of a file or folder of ours."""
        end = "/" if file.is_dir() else ""
        return self._bench.url(file.relative_to(self._bench.work).as_posix() + end)

    @functools.cached_property
    def gguf(self) -> Path:
        """The file as it is published."""
        return self._served(self._source)

    @functools.cached_property
    def q8(self) -> Path:
        """The same values as Q8_0, for which llama.cpp has a SIMD kernel in WebAssembly."""
        return self._served(self._kept("q8_0.gguf", self._write_q8))

    def onnx(self, form: Form) -> Path:
        """int8 (dynamic quantisation) or q4 (MatMulNBits)."""
        name = f"{form}.onnx"

        def write(target: Path) -> None:
            answers_onnx.export(self.vectors, self.matrices, self.shape, form, target)

        return self._served(self._kept(name, write))

    @functools.cached_property
    def compiled(self) -> Path:
        """The folder that `pywasm compile` wrote."""
        target = self._folder / "plan"
        self._bench.step(f"pywasm compile {MODEL}")
        command = [sys.executable, "-m", "pywasm.cli", "compile", str(self._source)]
        done = subprocess.run(
            [*command, "-o", str(target)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout)[-1500:]
            raise RuntimeError(f"{' '.join(command[2:])}:\n{said}")
        return target

    @functools.cached_property
    def bundle(self) -> str:
        """Address of the folder with the scripts that sites carry."""
        folder = self._bench.work / "bundle"
        if not folder.exists():
            shutil.copytree(Path(__file__).resolve().parents[1] / "_web", folder)
        return self._bench.url("bundle/")

    @functools.cached_property
    def texts(self) -> Texts:
        """Prompts, each given once in a run."""
        tokenizer = tokenizers.Tokenizer.from_buffer(tokenizer_json(GgufFile(self._source)))
        return Texts(tokenizer, documentation())

    @functools.cached_property
    def reader(self) -> Any:
        return gguf.GGUFReader(self._source)

    @functools.cached_property
    def shape(self) -> Shape:
        """Read from the file."""

        def field(name: str) -> Any:
            return self.reader.fields[f"llama.{name}"].contents()

        return Shape(
            layers=field("block_count"),
            width=field("embedding_length"),
            heads=field("attention.head_count"),
            kv_heads=field("attention.head_count_kv"),
            context=CONTEXT,
            epsilon=field("attention.layer_norm_rms_epsilon"),
            rope_base=field("rope.freq_base"),
        )

    @functools.cached_property
    def vectors(self) -> dict[str, Floats]:
        """f32[width] of every tensor of one dimension, by its name."""
        return {t.name: np.array(t.data) for t in self.reader.tensors if len(t.shape) == 1}

    @functools.cached_property
    def matrices(self) -> dict[str, Matrix]:
        """The others."""
        return {
            t.name: matrix(t.data, t.tensor_type) for t in self.reader.tensors if len(t.shape) == 2
        }

    @property
    def matrix_bytes(self) -> int:
        """What a token has to read: every matrix once, in the file's own form. The embedding is
        the output head too.
        """
        return sum(int(t.n_bytes) for t in self.reader.tensors if len(t.shape) == 2)

    @property
    def matrix_elements(self) -> int:
        """Weights that a token is multiplied with."""
        return sum(int(t.n_elements) for t in self.reader.tensors if len(t.shape) == 2)

    @property
    def layer_elements(self) -> int:
        """Weights that every token of a prompt is multiplied with: all but the head's."""
        return sum(m.values.size for name, m in self.matrices.items() if name != EMBEDDING)

    def _write_q8(self, target: Path) -> None:
        writer = gguf.GGUFWriter(target, "llama")
        skipped = {"general.architecture", "general.file_type"}
        for name, field in self.reader.fields.items():
            if name in skipped or name.startswith("GGUF."):
                continue
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, sub_type=inner)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
        kept = gguf.GGMLQuantizationType.Q8_0
        for name, values in self.vectors.items():
            writer.add_tensor(name, values)
        for name, given in self.matrices.items():
            writer.add_tensor(name, gguf.quantize(given.values, kept), raw_dtype=kept)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def _kept(self, name: str, write: Any) -> Path:
        target = self._cache / name
        if not target.exists():
            self._bench.step(f"writing {MODEL} as {name}")
            scratch = target.with_suffix(".part")
            write(scratch)
            scratch.replace(target)
        return target

    def _served(self, file: Path) -> Path:
        target = self._folder / file.name
        if not target.exists():
            link(file, target)
        return target


def matrix(data: NDArray[np.uint8], kind: Any) -> Matrix:
    """Of Q4_1 or Q8_0 blocks of 32, u8[outputs, bytes] as ggml packs them.
    Raises ValueError for another type.
    """
    outputs = len(data)
    values = np.asarray(gguf.dequantize(data, kind), np.float32)
    if kind == gguf.GGMLQuantizationType.Q4_1:  # f16 scale, f16 minimum, low nibbles first
        blocks = data.reshape(outputs, -1, 4 + BLOCK // 2)
        halves = np.ascontiguousarray(blocks[:, :, :4]).view(np.float16).astype(np.float32)
        scale, minimum = halves[:, :, 0], halves[:, :, 1]
        packed = blocks[:, :, 4:]
        codes = np.concatenate([packed & 15, packed >> 4], axis=2)
        if (scale == 0).any():
            raise ValueError("a block of equal Q4_1 weights has no zero point")
        return Matrix(values, 4, codes, scale, -minimum / scale)
    if kind == gguf.GGMLQuantizationType.Q8_0:  # f16 scale, signed codes
        blocks = data.reshape(outputs, -1, 2 + BLOCK)
        scale = np.ascontiguousarray(blocks[:, :, :2]).view(np.float16)[:, :, 0].astype(np.float32)
        codes = (blocks[:, :, 2:].view(np.int8).astype(np.int16) + 128).astype(np.uint8)
        return Matrix(values, 8, codes, scale, np.full_like(scale, 128))
    raise ValueError(f"matrices of type {kind!r}; expected Q4_1 or Q8_0")

"""MiniLM in the form that each engine takes, and the token ids that all of them are given."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pywasm.encoder import EncoderFiles, find_encoder, load_tokenizer
from pywasm.site_tuner import write_tuner

from .context import Bench

DType = Literal["f32", "int8"]
MODEL = "minilm"
TEXT = (
    "The library keeps every page it has read until the budget is spent, then forgets the one "
    "that was asked for least. A reader who comes back finds the shelves as they were left: "
    "titles by subject, maps beside the travel books, letters tied with string. Questions are "
    "answered from what is at hand, and what is missing is fetched by night when the line is "
    "quiet, so that nobody waits for it in the morning. "
)


class Models:
    """Files below the folder that the benchmark's server serves, made when first asked for."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._folder = bench.work / MODEL
        self._folder.mkdir(exist_ok=True)

    @functools.cached_property
    def files(self) -> EncoderFiles:
        """The model as `pywasm build` finds it."""
        return find_encoder(MODEL)

    def onnx(self, dtype: DType) -> Path:
        """As our converter writes it; int8: quantised by onnxruntime as published models are."""
        target = self._folder / f"{dtype}.onnx"
        if not target.exists():
            source = self.files.model if dtype == "f32" else self._quantised()
            link(source, target)
        return target

    def tflite(self, batch: int, seq: int) -> Path:
        """f32, of this shape."""
        from .litert_model import convert

        target = self._folder / f"{batch}x{seq}.tflite"
        if not target.exists():
            convert(self.files.tokenizer.parent, target, batch, seq)
        return target

    def compiled(self, dtype: DType) -> Path:
        """The folder that `pywasm compile` wrote."""
        target = self._folder / dtype
        if not target.exists():
            self._bench.step(f"pywasm compile --weights {dtype}")
            command = [sys.executable, "-m", "pywasm.cli", "compile", MODEL, "-o", str(target)]
            command += ["--weights", dtype]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                shutil.rmtree(target, ignore_errors=True)
                said = (done.stderr or done.stdout)[-1500:]
                raise RuntimeError(f"{' '.join(command[2:])}:\n{said}")
        return target

    @property
    def bundle_folder(self) -> Path:
        """The scripts that sites carry."""
        return Path(__file__).resolve().parents[1] / "_web"

    def bundle(self, name: str) -> str:
        """Address of a script of the bundle."""
        folder = self._bench.work / "bundle"
        if not folder.exists():
            shutil.copytree(self.bundle_folder, folder)
        return self._bench.url(f"bundle/{name}")

    def session(self, dtype: DType, threads: int) -> dict[str, Any]:
        """Options of pages/engines/encoder.js."""
        return {
            "module": self.bundle("encoder.js"),
            "model": self.url(self.compiled(dtype)),
            "open": {"threads": threads, "storage": "memory"},
        }

    @property
    def tuning(self) -> dict[str, Any]:
        """More options of it: to tune the kernels in the page."""
        return {"tuning": self.bundle("tuning.js"), "folder": self.tuner}

    @functools.cached_property
    def tuner(self) -> str:
        """Address of the folder with Pyodide and the kernel compiler."""
        site = self._bench.work / "tuner"
        write_tuner(site, "")
        return self.url(site / "tune")

    def url(self, file: Path) -> str:
        """Address of a file or folder of ours."""
        end = "/" if file.is_dir() else ""
        return self._bench.url(file.relative_to(self._bench.work).as_posix() + end)

    def ids(self, batch: int, seq: int) -> NDArray[np.int64]:
        """i64[batch, seq], none of it padding: TEXT in rows that begin at different words."""
        tokens = self._tokens
        rows = [
            [tokens[0], *(self._word(7 * row + at) for at in range(seq - 2)), tokens[-1]]
            for row in range(batch)
        ]
        return np.array(rows, np.int64)

    @functools.cached_property
    def _tokens(self) -> list[int]:
        """TEXT with the special tokens around it."""
        ids: list[int] = load_tokenizer(self.files.tokenizer).encode(TEXT).ids
        return [token for token in ids if token]  # a tokenizer.json may ask for padding

    def _word(self, at: int) -> int:
        inner = self._tokens[1:-1]
        return inner[at % len(inner)]

    def _quantised(self) -> Path:
        """Dynamic quantisation with a scale a column: as fast as one a tensor, which costs MiniLM
        a cosine of 0.05.
        """
        target = self._bench.cache / f"{self.files.sha256[:32]}-int8-columns.onnx"
        if not target.exists():
            from onnxruntime.quantization import (  # type: ignore[import-untyped]
                QuantType,
                quantize_dynamic,
            )

            self._bench.step("quantising MiniLM with onnxruntime")
            scratch = target.with_suffix(".part")
            how = {"weight_type": QuantType.QInt8, "per_channel": True}
            with _quiet():
                quantize_dynamic(self.files.model, scratch, **how)
            scratch.replace(target)
        return target


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice to optimise the model first (its fusions are left to a run)."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def link(source: Path, target: Path) -> None:
    """A hard link where the file system has them between the two, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

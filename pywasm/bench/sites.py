"""Sites for the benchmarks, built by the command line as a user would."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .data import Floats


class BuildFailed(RuntimeError):
    """`pywasm build` ended with an error."""


def build(source: Path | None, site: Path, *options: str) -> float:
    """`pywasm build SOURCE -o SITE OPTIONS`; returns its wall-clock seconds, start-up included.
    A source of None: the options name it.
    """
    command = [sys.executable, "-m", "pywasm.cli", "build", *([str(source)] if source else [])]
    command += ["-o", str(site), *options]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(command[2:])}:\n{(done.stderr or done.stdout)[-1500:]}")
    return time.perf_counter() - started


def save(directory: Path, vectors: Floats, documents: Iterable[Mapping[str, Any]] | None) -> Path:
    """Write vectors.npy and, with documents, documents.jsonl for `build --documents`."""
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / "vectors.npy", vectors)
    if documents is not None:
        with (directory / "documents.jsonl").open("w", encoding="utf-8") as file:
            for document in documents:
                file.write(json.dumps(document, ensure_ascii=False) + "\n")
    return directory / "vectors.npy"


@contextlib.contextmanager
def served(site: Path) -> Iterator[str]:
    """`pywasm serve SITE` in a process of its own; yields its address."""
    command = [sys.executable, "-u", "-m", "pywasm.cli", "serve", str(site), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line.decode()
                if match := re.search(r"http://[^\s/]+:\d+", said):
                    break
            else:
                raise RuntimeError(f"pywasm serve said no address:\n{said}")
            yield match[0]
        finally:
            process.terminate()

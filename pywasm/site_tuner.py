"""SITE/tune/: what makes an encoder's kernels faster on a visitor's own device.

Pyodide (Python compiled to WebAssembly, from the bundle or by an address) and the wheel of
pywasm_jit, named by its content. tune.json names both; a browser reads it when it is idle.
"""

import hashlib
import json
import shutil
from pathlib import Path

from pywasm.assets import PYODIDE
from pywasm.errors import UserError
from pywasm.jit_wheel import jit_wheel
from pywasm.manifest import FileInfo, TunerInfo
from pywasm.shards import replace_file

FOLDER = "tune"
_INDEX = "tune.json"
_PYODIDE = "pyodide"
_WHEEL = "pywasm_jit-*.whl"


def check_address(url: str) -> str:
    """Of a folder of Pyodide's, ending in '/'. Raises UserError for what no browser can fetch."""
    if not url.startswith(("https://", "http://", "/")):
        raise UserError(f"--pyodide-url {url}: expected an address that begins with https:// or /")
    return url if url.endswith("/") else f"{url}/"


def write_tuner(site: Path, pyodide_url: str) -> TunerInfo:
    """Writes what differs, tune.json last. `pyodide_url`: empty for Pyodide in the site itself."""
    if pyodide_url:
        pyodide_url = check_address(pyodide_url)
    folder = site / FOLDER
    files: dict[str, bytes] = {}
    pyodide = pyodide_url or f"{_PYODIDE}/"
    if not pyodide_url:
        files |= {f"{_PYODIDE}/{name}": data for name, data in _pyodide().items()}
    wheel = jit_wheel()
    name = f"pywasm_jit-{hashlib.sha256(wheel).hexdigest()[:20]}.whl"
    files[name] = wheel
    files[_INDEX] = json.dumps({"pyodide": pyodide, "wheel": name}).encode() + b"\n"
    for path, data in files.items():
        target = folder / path
        if not target.is_file() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, data)
    for stale in folder.glob(_WHEEL):
        if stale.name != name:
            stale.unlink()
    if pyodide_url:
        shutil.rmtree(folder / _PYODIDE, ignore_errors=True)
    infos = [
        FileInfo(file=f"{FOLDER}/{path}", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in sorted(files.items())
    ]
    return TunerInfo(folder=f"{FOLDER}/", pyodide=pyodide_url, files=infos)


def remove_tuner(site: Path) -> None:
    """What write_tuner made."""
    folder = site / FOLDER
    if (folder / _INDEX).is_file():
        shutil.rmtree(folder)


def _pyodide() -> dict[str, bytes]:
    if not (PYODIDE / "pyodide.mjs").is_file():
        raise UserError(
            f"{PYODIDE}: Pyodide is not there; run `make build` in a checkout of pywasm, or build "
            "the site with --no-tune or --pyodide-url"
        )
    return {file.name: file.read_bytes() for file in sorted(PYODIDE.iterdir())}

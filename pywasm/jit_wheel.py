"""The wheel of pywasm_jit that a site carries, so that its kernels are tuned where they run.

Made from the installed package, the same bytes every time: it is named by its content.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from importlib.metadata import version
from pathlib import Path

import pywasm_jit

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def wheel_name() -> str:
    return f"pywasm_jit-{version('pywasm-toolkit')}-py3-none-any.whl"


def jit_digest() -> str:
    """Twelve hex digits that change with any of the sources, as kernels tuned by them may."""
    return hashlib.sha256(jit_wheel()).hexdigest()[:12]


def jit_wheel() -> bytes:
    """A wheel (PEP 427) of the package as it is installed, without bytecode."""
    root = Path(pywasm_jit.__file__).parent
    info = f"{wheel_name().rsplit('-', 3)[0]}.dist-info"
    files = {
        path.relative_to(root.parent).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*.py"))
    }
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: pywasm-jit\nVersion: {version('pywasm-toolkit')}\n"
    ).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: pywasm\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = "".join(f"{name},{_hash(raw)},{len(raw)}\n" for name, raw in files.items())
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, raw in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), raw, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _hash(raw: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"

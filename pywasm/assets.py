"""The demo page and the browser library, copied into a site."""

import hashlib
import html
import re
from pathlib import Path

from pywasm.documents import Notes
from pywasm.errors import UserError
from pywasm.manifest import FileInfo, Manifest
from pywasm.shards import replace_file

BUNDLE = Path(__file__).with_name("_web")
PYODIDE = BUNDLE / "pyodide"  # goes to a folder of its own (site_tuner.py)
VERSION_DIGITS = 16  # of the SHA-256 in an address
_PAGE = "index.html"
_AT_TOP = {_PAGE, "sw.js"}  # the page, and the service worker, whose scope is its own folder
_OURS = b"pywasm/demo/demo.js"  # what only a page of ours loads
# Where one file of the bundle names another that it loads.
_LOADED = re.compile(
    rb"(?<=/)(worker\.js|engine\.wasm|encoder\.js|encoder-worker\.js|tuning\.js|tuner-worker\.js"
    rb"|generator\.js|generator-worker\.js)(?=[\"'`])"
)
_ENCODER_HINT = re.compile(r"\s*<link [^>]*pywasm/encoder[^>]*>")
_LOADERS = {_PAGE, "pywasm.js", "encoder.js", "tuning.js", "generator.js"}


def copy_bundle(
    site: Path,
    title: str,
    language: str,
    encoder: bool,
    previous: Manifest | None,
    notes: Notes,
) -> list[FileInfo]:
    """Copies what changed and removes what only the build before had. Files by name.

    Workers, engine and encoder are named with a hash of their content (`worker.js?v=...`), so that
    a host may have browsers keep them without asking again. A page that somebody put in the place
    of ours stays. `encoder`: whether the site carries one, whose code its page then asks for early.
    """
    recorded = {asset.file: asset.sha256 for asset in previous.assets} if previous else {}
    assets = []
    for source in _bundle_files():
        name = source.relative_to(BUNDLE).as_posix()
        target = site / (name if name in _AT_TOP else f"pywasm/{name}")
        data = _content(name)
        file = target.relative_to(site).as_posix()
        if name == _PAGE:
            data = _page(data, title, language, encoder)
            if target.is_file() and not _is_ours(target, recorded.get(_PAGE)):
                notes.warn(f"{target}: a page of your own; left as it is")
                data = target.read_bytes()
        if not target.is_file() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, data)
        digest = hashlib.sha256(data).hexdigest()
        assets.append(FileInfo(file=file, bytes=len(data), sha256=digest))
    current = {asset.file for asset in assets}
    for file in recorded:
        if file not in current:
            (site / file).unlink(missing_ok=True)
    return sorted(assets, key=lambda asset: asset.file)


def _bundle_files() -> list[Path]:
    if not (BUNDLE / _PAGE).is_file():
        raise UserError(
            f"{BUNDLE}: the browser library is not built; run `make build` in a checkout of "
            "pywasm, or build the index alone with --no-bundle"
        )
    files = (file for file in BUNDLE.rglob("*") if file.is_file())
    return sorted(file for file in files if PYODIDE not in file.parents)


def _content(name: str) -> bytes:
    """Of a file of the bundle, as it goes into a site."""
    data = (BUNDLE / name).read_bytes()
    return _LOADED.sub(_with_version, data) if name in _LOADERS else data


def _with_version(match: re.Match[bytes]) -> bytes:
    name = match[0].decode()
    if not (BUNDLE / name).is_file():
        return match[0]
    digest = hashlib.sha256(_content(name)).hexdigest()
    return f"{name}?v={digest[:VERSION_DIGITS]}".encode()


def _page(template: bytes, title: str, language: str, encoder: bool) -> bytes:
    """The template with the site's title and language where it has them."""
    text = template.decode("utf-8")
    if not encoder:
        text = _ENCODER_HINT.sub("", text)
    escaped = html.escape(title)
    text = re.sub(r"<title>.*?</title>", lambda _: f"<title>{escaped}</title>", text, count=1)
    heading = f'<span id="title">{escaped}</span>'
    text = re.sub(r'<span id="title">.*?</span>', lambda _: heading, text, count=1)
    if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]+)*", language):
        text = re.sub(r'<html lang="[^"]*"', f'<html lang="{language}"', text, count=1)
    return text.encode("utf-8")


def _is_ours(page: Path, recorded: str | None) -> bool:
    data = page.read_bytes()
    if recorded is not None:
        return hashlib.sha256(data).hexdigest() == recorded
    return _OURS in data

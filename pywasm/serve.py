"""A static server for a built site, with the headers that a good host would send.

Cross-origin isolation (COOP, COEP), byte ranges (RFC 9110 section 14, one range a request), gzip
of text and code but never of a range, ETags, and caching: what is named by its content (in the
path, or by ?v=) for ever; manifest.json, plan.json and pages revalidated each time.
"""

import gzip
import hashlib
import mimetypes
import re
import socket
import webbrowser
from functools import lru_cache
from pathlib import Path

import uvicorn
from rich.console import Console
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pywasm.errors import UserError

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".ts": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".bin": "application/octet-stream",
    ".idx": "application/octet-stream",
    ".whl": "application/zip",
    ".zip": "application/zip",
}
_COMPRESSED = {
    *(".html", ".js", ".mjs", ".css", ".json", ".map"),
    *(".wasm", ".svg", ".webmanifest", ".txt"),
}
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Range, If-Range",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range, ETag",
    "Accept-Ranges": "bytes",
    "X-Content-Type-Options": "nosniff",
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_VERSION = re.compile(r"[0-9a-f]{16,64}")
_FOR_EVER = "public, max-age=31536000, immutable"
_HASHED = re.compile(r"^(data|kv)/.*\.(bin|idx)$|[.-][0-9a-f]{8,}\.\w+$")


def create_app(site: Path) -> Starlette:
    """The application that serves the files below `site`."""
    root = site.resolve()

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_respond, root, request)

    route = Route("/{path:path}", endpoint, methods=["GET", "HEAD", "OPTIONS"])
    return Starlette(routes=[route])


def _respond(root: Path, request: Request) -> Response:
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=_HEADERS)
    path = request.path_params["path"]
    file = find_file(root, path)
    if file is None:
        return PlainTextResponse(f"not found: /{path}\n", 404, _HEADERS)
    relative = file.relative_to(root).as_posix()
    state = file.stat()
    etag = f'"{state.st_size:x}-{state.st_mtime_ns:x}"'
    headers = {**_HEADERS, "Cache-Control": cache_control(relative)}
    version = request.query_params.get("v", "")
    # Asked for by another hash, the file is of another build than whoever asks.
    if _VERSION.fullmatch(version) and _sha256(file, state.st_mtime_ns).startswith(version):
        headers["Cache-Control"] = _FOR_EVER
    kind = _TYPES.get(file.suffix.lower()) or mimetypes.guess_type(file.name)[0]
    kind = kind or "application/octet-stream"

    wanted = request.headers.get("range")
    if wanted and request.headers.get("if-range", etag) == etag:
        span = parse_range(wanted, state.st_size)
        if span is not None and not span:
            headers["Content-Range"] = f"bytes */{state.st_size}"
            return Response(b"", 416, headers)
        if span is not None:
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{state.st_size}"
            headers["ETag"] = etag
            return Response(_read(file, span.start, span.stop), 206, headers, kind)

    body: bytes | None = None
    if file.suffix.lower() in _COMPRESSED:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = _gzipped(file, state.st_mtime_ns, state.st_size)
            etag = etag[:-1] + '-gzip"'
            headers["Content-Encoding"] = "gzip"
    headers["ETag"] = etag
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(_read(file, 0, state.st_size) if body is None else body, 200, headers, kind)


def find_file(root: Path, path: str) -> Path | None:
    """The file of a URL path, index.html for a folder; None where there is none below `root`."""
    try:
        file = (root / path).resolve()
        if not file.is_relative_to(root):
            return None
        if file.is_dir():
            file = file / "index.html"
        return file if file.is_file() else None
    except (OSError, ValueError):  # a name too long, or with a NUL
        return None


def cache_control(path: str) -> str:
    """Files whose name is a hash of their content never change."""
    if _HASHED.search(path):
        return _FOR_EVER
    return "no-cache"


def parse_range(header: str, size: int) -> range | None:
    """The bytes a Range header asks for; an empty range where it can't be satisfied.

    None where the header is to be ignored: not understood, or several ranges.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.group(1) == match.group(2) == "":
        return None
    if match.group(1) == "":
        length = int(match.group(2))
        return range(max(0, size - length), size) if length else range(0)
    first = int(match.group(1))
    if match.group(2) and int(match.group(2)) < first:
        return None
    if first >= size:
        return range(0)
    return range(first, min(int(match.group(2)) + 1, size) if match.group(2) else size)


def _read(file: Path, first: int, end: int) -> bytes:
    with file.open("rb") as stream:
        stream.seek(first)
        return stream.read(end - first)


@lru_cache(maxsize=64)
def _sha256(file: Path, mtime_ns: int) -> str:
    """Computed once for each state of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@lru_cache(maxsize=64)
def _gzipped(file: Path, mtime_ns: int, size: int) -> bytes:
    """Compressed once for each state of a file."""
    return gzip.compress(file.read_bytes(), 6, mtime=0)


def serve(site: Path, host: str, port: int, open_browser: bool, console: Console) -> None:
    """Serves until Ctrl-C. `port` 0 takes a free one; the address is printed first."""
    if not (site / "manifest.json").is_file():
        raise UserError(f"{site}: no manifest.json here; expected a folder made by `pywasm build`")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # whoever reads the address below may connect at once
    except OSError as error:
        raise UserError(
            f"port {port} on {host} can't be had ({error.strerror}); choose another with --port, "
            "or --port 0 for a free one"
        ) from error
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}/"
    console.print(f"serving {site} at [link={address}]{address}[/link]  (Ctrl-C ends it)")
    if open_browser:
        webbrowser.open(address)
    config = uvicorn.Config(create_app(site), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])

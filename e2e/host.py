"""A static host that can misbehave: damaged files, no ranges, cut connections, slow answers."""

from __future__ import annotations

import contextlib
import mimetypes
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
# Ports that servers of this process have had. The kernel gives the same one again soon (two of a
# hundred hosts, every other time), and with it the origin: whatever the browser stored of the first
# site would be found on the second.
_claimed: set[int] = set()


def claim(port: int) -> bool:
    """Whether `port` has had no server yet; it has one now."""
    fresh = port not in _claimed
    _claimed.add(port)
    return fresh


BLANK = b"<!doctype html><title>blank</title><link rel=icon href='data:,'><p>A page of the tests."


@dataclass
class Faults:
    """What goes wrong; may be changed while the host runs."""

    ranges: bool = True  # False: whole files whatever is asked for
    down: Callable[[str], bool] = lambda path: False  # cut the connection without an answer
    change: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)  # by pattern of path
    delay: float = 0.0  # seconds before each answer
    isolate: bool = True  # send COOP and COEP
    headers: dict[str, str] = field(default_factory=dict)


class Host:
    """Serves a folder at `url` (an origin of its own, so storage of its own) with `faults`.

    /blank.html is a page with nothing on it. `log` holds (path, Range header) of every request.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults()
        self.log: list[tuple[str, str]] = []
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        """The origin, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen (again), on the same port as before."""
        host = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A browser that goes away is not worth a traceback."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                host._connections.add(self.connection)

            def finish(self) -> None:
                host._connections.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                host._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        while self._port == 0 and not claim(self._server.server_port):
            self._server.server_close()
            self._server = Server(("127.0.0.1", 0), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening and cut every connection: the network is gone."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def requests(self, pattern: str = "") -> list[tuple[str, str]]:
        """Those whose path matches."""
        return [entry for entry in self.log if re.search(pattern, entry[0])]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.split("?")[0]
        wanted = handler.headers.get("Range", "")
        self.log.append((path, wanted))
        faults = self.faults
        if faults.delay:
            time.sleep(faults.delay)
        if faults.down(path):
            handler.close_connection = True
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)
            return
        body = BLANK if path == "/blank.html" else self._read(path)
        status = HTTPStatus.OK if body is not None else HTTPStatus.NOT_FOUND
        body = body if body is not None else b"not found"
        headers = {"Cache-Control": "no-cache", "Access-Control-Allow-Origin": "*"}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted) if faults.ranges else None
        if faults.ranges:
            headers["Accept-Ranges"] = "bytes"
        if match and status == HTTPStatus.OK:
            total, first = len(body), int(match[1])
            last = min(int(match[2]) if match[2] else total - 1, total - 1)
            if first >= total:
                status, body = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b""
                headers["Content-Range"] = f"bytes */{total}"
            else:
                status, body = HTTPStatus.PARTIAL_CONTENT, body[first : last + 1]
                headers["Content-Range"] = f"bytes {first}-{last}/{total}"
        suffix = Path(path).suffix or ".html"
        headers["Content-Type"] = TYPES.get(suffix) or mimetypes.types_map.get(
            suffix, "application/octet-stream"
        )
        if faults.isolate:
            headers["Cross-Origin-Opener-Policy"] = "same-origin"
            headers["Cross-Origin-Embedder-Policy"] = "require-corp"
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        headers |= faults.headers
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _read(self, path: str) -> bytes | None:
        file = (self.root / path.lstrip("/")).resolve()
        if file.is_dir():
            file /= "index.html"
        if not file.is_relative_to(self.root.resolve()) or not file.is_file():
            return None
        body = file.read_bytes()
        for pattern, change in self.faults.change.items():
            if re.search(pattern, path):
                body = change(body)
        return body


def flip(at: int) -> Callable[[bytes], bytes]:
    """One bit of the byte at `at` (from the end where negative) the other way."""

    def change(body: bytes) -> bytes:
        place = at % len(body)
        return body[:place] + bytes([body[place] ^ 0x10]) + body[place + 1 :]

    return change


def prelude(script: str) -> Callable[[bytes], bytes]:
    """Script before a module's own (its imports, hoisted, still run first)."""
    return lambda body: script.encode() + b"\n" + body

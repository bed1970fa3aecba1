"""A cold visit over a slow line: one fresh tab and its workers, throttled and watched by CDP."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from types import TracebackType
from typing import Any, Self

from .browsers.interface import WRAPPER, unwrap
from .browsers.rpc import Rpc


@dataclasses.dataclass
class Line:
    """A network: `latency_ms` from request to the response's first byte, `mbit` per second."""

    mbit: float = 50.0
    latency_ms: float = 40.0

    @property
    def conditions(self) -> dict[str, Any]:
        """Parameters of Network.emulateNetworkConditions."""
        rate = self.mbit * 1e6 / 8
        return {
            "offline": False,
            "latency": self.latency_ms,
            "downloadThroughput": rate,
            "uploadThroughput": rate,
        }


@dataclasses.dataclass
class Request:
    """One request of the visit. Times are the browser's monotonic seconds."""

    url: str
    sent: float
    arrived: list[tuple[float, int]] = dataclasses.field(default_factory=list)  # (when, bytes)


class Visit:
    """A tab in a browser context of its own: empty caches, empty storage. A context manager.

    Workers are paused as they start until they are throttled too.
    """

    def __init__(self, rpc: Rpc, line: Line) -> None:
        self._rpc = rpc
        self._line = line
        self._lock = threading.Lock()
        self._requests: dict[str, Request] = {}  # by CDP's id: a worker's script
        # is asked for in one session and arrives in another
        self._wall_offset = 0.0  # wall clock minus monotonic
        self._sessions: set[str] = set()

    def __enter__(self) -> Self:
        rpc = self._rpc
        rpc.on("Target.attachedToTarget", self._attached)
        rpc.on("Network.requestWillBeSent", self._sent)
        rpc.on("Network.dataReceived", self._received)
        rpc.on("Network.responseReceived", self._response)
        self._context = rpc.call("Target.createBrowserContext")["browserContextId"]
        blank = {"url": "about:blank", "browserContextId": self._context}
        self._target = rpc.call("Target.createTarget", blank)["targetId"]
        attach = {"targetId": self._target, "flatten": True}
        self._page: str = rpc.call("Target.attachToTarget", attach)["sessionId"]
        end = time.monotonic() + 10
        while self._page not in self._sessions and time.monotonic() < end:
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rpc.call("Target.disposeBrowserContext", {"browserContextId": self._context})

    def goto(self, url: str) -> None:
        """Begin to navigate; does not wait."""
        self._rpc.call("Page.navigate", {"url": url}, sessionId=self._page)

    def outcome(self, page: str, seconds: float) -> dict[str, Any]:
        """What the page has put into `globalThis.visit` once that says `done`.

        Raises RuntimeError, naming the page, for its `error` or when the time is over.
        """
        end = time.monotonic() + seconds
        found: dict[str, Any] | None = None
        while not found and time.monotonic() < end:
            time.sleep(0.1)
            found = self.evaluate("() => globalThis.visit?.done && globalThis.visit")
        if not found or "error" in found:
            raise RuntimeError(f"{page}: {found['error'] if found else 'nothing found'}")
        return found

    def evaluate(self, function: str, timeout: float = 60.0) -> Any:
        """The value of an async function called in the page."""
        params = {
            "expression": f"({WRAPPER % function})()",
            "awaitPromise": True,
            "returnByValue": True,
        }
        answer = self._rpc.call("Runtime.evaluate", params, timeout, sessionId=self._page)
        return unwrap(answer["result"]["value"])

    def until(self, epoch_ms: float) -> tuple[int, int]:
        """(requests sent, bytes that had come over the line) up to a moment of the wall clock."""
        with self._lock:
            moment = epoch_ms / 1e3 - self._wall_offset
            before = [request for request in self._requests.values() if request.sent <= moment]
            size = sum(n for request in before for when, n in request.arrived if when <= moment)
            return len(before), size

    def requests(self) -> list[tuple[str, int]]:
        """(address, bytes) of every request so far."""
        with self._lock:
            return [(r.url, sum(n for _, n in r.arrived)) for r in self._requests.values()]

    def _attached(self, message: dict[str, Any]) -> None:
        """Throttle a new target and let it run. Also its workers will come here."""
        info, session = message["params"]["targetInfo"], message["params"]["sessionId"]
        ours = info.get("browserContextId") == getattr(self, "_context", None)
        if not ours:
            return
        auto = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        self._rpc.post("Network.enable", {}, sessionId=session)
        self._rpc.post("Network.emulateNetworkConditions", self._line.conditions, sessionId=session)
        self._rpc.post("Target.setAutoAttach", auto, sessionId=session)
        self._rpc.post("Runtime.runIfWaitingForDebugger", {}, sessionId=session)
        self._sessions.add(session)

    def _sent(self, message: dict[str, Any]) -> None:
        params = message["params"]
        if not params["request"]["url"].startswith("http"):
            return
        with self._lock:
            self._wall_offset = params["wallTime"] - params["timestamp"]
            request = Request(params["request"]["url"], params["timestamp"])
            self._requests[params["requestId"]] = request

    def _response(self, message: dict[str, Any]) -> None:
        """Headers count too."""
        size = int(message["params"]["response"].get("encodedDataLength", 0))
        self._count(message, size)

    def _received(self, message: dict[str, Any]) -> None:
        self._count(message, int(message["params"]["encodedDataLength"]))

    def _count(self, message: dict[str, Any], size: int) -> None:
        with self._lock:
            if (request := self._requests.get(message["params"]["requestId"])) is not None:
                request.arrived.append((message["params"]["timestamp"], size))


def literal(value: Any) -> str:
    """A value as JavaScript source."""
    return json.dumps(value).replace("<", "\\u003c")

"""JSON messages over a WebSocket, answered by id: what WebDriver BiDi and CDP have in common."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from .interface import BrowserError

Listener = Callable[[dict[str, Any]], None]


class Rpc:
    """One connection. Calls block; events reach listeners on the reading thread."""

    def __init__(self, url: str) -> None:
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(connect(url, max_size=None, open_timeout=20))
        self._ids = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._waiting: dict[int, threading.Event] = {}
        self._listeners: dict[str, list[Listener]] = collections.defaultdict(list)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def on(self, method: str, listener: Listener) -> None:
        """Call `listener` with every event of that name (the whole message)."""
        self._listeners[method].append(listener)

    def post(self, method: str, params: dict[str, Any] | None = None, **extra: str) -> int:
        """Send without waiting (listeners must not wait); returns the id."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params or {}, **extra}
        self._socket.send(json.dumps(message))
        return number

    def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        timeout: float = 30.0,
        **extra: str,
    ) -> dict[str, Any]:
        """Send a command and wait for its result; `extra` joins the message (CDP's sessionId)."""
        number = next(self._ids)
        arrived = self._waiting[number] = threading.Event()
        message = {"id": number, "method": method, "params": params or {}, **extra}
        try:
            self._socket.send(json.dumps(message))
        except ConnectionClosed as error:
            raise BrowserError(f"{method}: the browser has gone") from error
        if not arrived.wait(timeout):
            del self._waiting[number]
            raise TimeoutError(f"{method}: no answer within {timeout:g} s")
        answer = self._answers.pop(number, None)
        if answer is None:
            raise BrowserError(f"{method}: the browser has gone")
        if "error" in answer:
            told = answer["error"]
            text = told["message"] if isinstance(told, dict) else f"{told}: {answer['message']}"
            raise BrowserError(f"{method}: {text}")
        result: dict[str, Any] = answer.get("result", {})
        return result

    def close(self) -> None:
        """Close the socket and wait for the reader to end."""
        self._open.close()
        self._reader.join(5)

    def _read(self) -> None:
        try:
            for text in self._socket:
                message = json.loads(text)
                if (number := message.get("id")) is not None:
                    if arrived := self._waiting.pop(number, None):
                        self._answers[number] = message
                        arrived.set()
                else:
                    for listener in self._listeners.get(message.get("method", ""), ()):
                        listener(message)
        except ConnectionClosed:
            pass
        finally:
            for arrived in list(self._waiting.values()):
                arrived.set()

"""What every browser driver offers, and the one way they evaluate script."""

from __future__ import annotations

import abc
import json
import time
from types import TracebackType
from typing import Any, Self


class BrowserError(RuntimeError):
    """The browser could not be started, or does not offer what was asked."""


class PageError(RuntimeError):
    """Script in a page threw, or did not settle in time.

    name: the JavaScript error's name ("TypeError"); code: its `code` property, "" without one.
    """

    def __init__(self, message: str, name: str = "", code: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.code = code


# Errors lose their properties on the way through every protocol; so they travel as values.
WRAPPER = """async (argument) => {
  try {
    const value = await (%s)(argument === undefined ? undefined : JSON.parse(argument));
    return JSON.stringify({ value: value === undefined ? null : value });
  } catch (error) {
    const { name = "Error", message = String(error), code = "", stack = "" } = error ?? {};
    return JSON.stringify({ error: { name, message, code: String(code), stack } });
  }
}"""


def unwrap(text: str) -> Any:
    """The value that WRAPPER returned, or a PageError with what was thrown."""
    answer = json.loads(text)
    if (error := answer.get("error")) is not None:
        raise PageError(f"{error['name']}: {error['message']}", error["name"], error["code"])
    return answer["value"]


class Page(abc.ABC):
    """One tab."""

    @abc.abstractmethod
    def goto(self, url: str, timeout: float = 30.0) -> None:
        """Navigate and wait for the load event."""

    @abc.abstractmethod
    def run(self, function: str, argument: str | None, timeout: float) -> str:
        """Call an async function of one string in the page; its answer is a string."""

    @abc.abstractmethod
    def add_init_script(self, source: str) -> None:
        """Run `source` (a function body) before the scripts of every document loaded from now on.

        Pages only: workers are not reached. Raises BrowserError where the driver has no such thing.
        """

    @abc.abstractmethod
    def screenshot(self) -> bytes:
        """The viewport as PNG."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the tab without asking it."""

    def evaluate(self, function: str, argument: Any = None, timeout: float = 60.0) -> Any:
        """Call `function` (JavaScript source, may be async) with `argument` in the page.

        Both ways by JSON. Raises PageError when it throws, and after `timeout` seconds.
        """
        packed = None if argument is None else json.dumps(argument)
        return unwrap(self.run(WRAPPER % function, packed, timeout))

    def wait_for(self, expression: str, timeout: float = 30.0) -> Any:
        """Poll `expression` in the page until it is truthy; returns its value."""
        end = time.monotonic() + timeout
        while not (value := self.evaluate(f"() => {expression}")):
            if time.monotonic() > end:
                raise PageError(f"not true within {timeout:g} s: {expression}", "TimeoutError")
            time.sleep(0.05)
        return value


class Browser(abc.ABC):
    """A running browser; a context manager that leaves no process behind."""

    name: str
    version: str

    @abc.abstractmethod
    def new_page(self, isolated: bool = False) -> Page:
        """A new tab; `isolated` gives it storage of its own, apart from all other pages."""

    @abc.abstractmethod
    def kill(self) -> None:
        """SIGKILL to the whole browser: nothing is flushed, no handler runs."""

    @abc.abstractmethod
    def close(self) -> None:
        """End the browser and all its processes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

"""Chromium, driven by Playwright over the DevTools protocol.

The process is started here rather than by Playwright, so that it can be killed as a crash would
kill it, and so that plain CDP (workers' network and memory) reaches the same browser.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, CDPSession, Playwright, sync_playwright
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page as PlaywrightPage

from .interface import Browser, BrowserError, Page, PageError
from .process import Group, find
from .rpc import Rpc

ARGS = (
    "--headless=new",
    "--no-sandbox",  # as root there is none; the pages are our own
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-breakpad",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    # Timers and rendering as in the foreground, for every tab: tests look at several.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-dev-shm-usage",
    "--password-store=basic",
    "--use-mock-keychain",
    "--force-color-profile=srgb",
)

_playwright: Playwright | None = None


def playwright() -> Playwright:
    """The one Playwright of this process (it owns an event loop; two can't be started)."""
    global _playwright
    if _playwright is None:
        _playwright = sync_playwright().start()
        atexit.register(_playwright.stop)
    return _playwright


class ChromiumPage(Page):
    """A tab; `tab` is Playwright's page for what only Chromium can do."""

    def __init__(self, tab: PlaywrightPage, own: BrowserContext | None) -> None:
        self.tab = tab
        self._own = own  # the context to close with the page

    def goto(self, url: str, timeout: float = 30.0) -> None:
        try:
            self.tab.goto(url, timeout=timeout * 1e3)
        except PlaywrightError as error:
            raise PageError(error.message) from error

    def run(self, function: str, argument: str | None, timeout: float) -> str:
        raced = (
            f"(argument) => Promise.race([({function})(argument ?? undefined), new Promise("
            f"(_, refuse) => setTimeout(refuse, {timeout * 1e3:.0f}, 'not settled in time'))])"
        )
        try:
            text: str = self.tab.evaluate(raced, argument)
        except PlaywrightError as error:
            if "not settled in time" in error.message:
                raise PageError(f"not settled within {timeout:g} s", "TimeoutError") from error
            raise PageError(error.message) from error
        return text

    def add_init_script(self, source: str) -> None:
        self.tab.add_init_script(source)

    def cdp(self) -> CDPSession:
        """A DevTools session of this tab (its workers are not part of it)."""
        return self.tab.context.new_cdp_session(self.tab)

    def screenshot(self) -> bytes:
        return self.tab.screenshot()

    def close(self) -> None:
        with contextlib.suppress(PlaywrightError):
            if self._own is not None:
                self._own.close()
            else:
                self.tab.close()


class Chromium(Browser):
    """Chromium, headless; pages that are not isolated share the profile's storage."""

    name = "chromium"

    def __init__(self, profile: Path | None, args: tuple[str, ...]) -> None:
        self._temporary = tempfile.mkdtemp(prefix="pywasm-chromium-")
        profile = profile or Path(self._temporary) / "profile"
        profile.mkdir(parents=True, exist_ok=True)
        port_file = profile / "DevToolsActivePort"
        port_file.unlink(missing_ok=True)
        command = [find("chromium", "chromium-browser", "google-chrome"), *ARGS, *args]
        command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        self._group = Group(command, Path(self._temporary) / "log")
        try:
            self._group.wait_for_line(r"DevTools listening on", 60)
            port, path = _read_port(port_file)
            self.cdp_url = f"ws://127.0.0.1:{port}{path}"
            self._browser = playwright().chromium.connect_over_cdp(self.cdp_url)
        except BaseException:
            self._group.kill()
            raise
        self.version = self._browser.version
        self._context = self._browser.contexts[0]

    def new_page(self, isolated: bool = False) -> ChromiumPage:
        context = self._browser.new_context() if isolated else self._context
        return ChromiumPage(context.new_page(), context if isolated else None)

    def rpc(self) -> Rpc:
        """A plain CDP connection to the whole browser; the caller closes it."""
        return Rpc(self.cdp_url)

    def kill(self) -> None:
        self._group.kill()

    def close(self) -> None:
        if self._group.process.poll() is None:
            with contextlib.suppress(PlaywrightError, BrowserError, TimeoutError, OSError):
                rpc = self.rpc()
                rpc.call("Browser.close", timeout=5)
                rpc.close()
            end = time.monotonic() + 5
            while self._group.process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
        with contextlib.suppress(PlaywrightError):
            self._browser.close()
        self._group.end()
        shutil.rmtree(self._temporary, ignore_errors=True)


def _read_port(path: Path, timeout: float = 10.0) -> tuple[int, str]:
    """Port and path of the DevTools socket, from the file that Chromium writes."""
    end = time.monotonic() + timeout
    while True:
        lines: list[Any] = path.read_text().split() if path.exists() else []
        if len(lines) == 2:
            return int(lines[0]), lines[1]
        if time.monotonic() > end:
            raise BrowserError(f"chromium wrote no {path}")
        time.sleep(0.02)

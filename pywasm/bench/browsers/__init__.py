"""Drivers for the three browsers that Debian carries, behind one small interface.

    with launch("firefox") as browser:
        page = browser.new_page()
        page.goto("http://127.0.0.1:8000/")
        page.evaluate("() => document.title")

Chromium is driven by Playwright, Firefox by WebDriver BiDi over a WebSocket, WebKitGTK by
WebDriver: all stock, none needs Node.js or a patched build.
"""

from __future__ import annotations

from pathlib import Path

from .interface import Browser, BrowserError, Page, PageError

__all__ = ["BROWSERS", "Browser", "BrowserError", "Page", "PageError", "launch"]

BROWSERS = ("chromium", "firefox", "webkit")


def launch(name: str, profile: Path | None = None, args: tuple[str, ...] = ()) -> Browser:
    """Start the browser called `name`, headless.

    profile: directory that keeps storage between launches; without one everything is temporary.
    args: further command-line flags of the browser itself.

    Raises BrowserError when the browser or its Python package is not installed.
    """
    try:
        match name:
            case "chromium":
                from .chromium import Chromium

                return Chromium(profile, args)
            case "firefox":
                from .firefox import Firefox

                return Firefox(profile, args)
            case "webkit":
                from .webkit import WebKit

                return WebKit(profile, args)
    except ModuleNotFoundError as error:
        raise BrowserError(
            f"driving {name} needs the Python package {error.name}: "
            "pip install 'pywasm-toolkit[bench]'"
        ) from error
    raise BrowserError(f"unknown browser {name!r}; known: {', '.join(BROWSERS)}")

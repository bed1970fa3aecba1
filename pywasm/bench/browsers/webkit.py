"""WebKitGTK's MiniBrowser, driven by WebDriver on a virtual screen."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.webkitgtk.options import Options
from selenium.webdriver.webkitgtk.service import Service

from .interface import Browser, BrowserError, Page, PageError
from .process import Group, find

MINIBROWSER = (
    "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
    "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.0/MiniBrowser",
    "/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
)


class WebKitPage(Page):
    """A window of MiniBrowser; WebDriver addresses one window at a time."""

    def __init__(self, driver: webdriver.WebKitGTK, handle: str) -> None:
        self._driver = driver
        self._handle = handle

    def _focus(self) -> None:
        if self._driver.current_window_handle != self._handle:
            self._driver.switch_to.window(self._handle)

    def goto(self, url: str, timeout: float = 30.0) -> None:
        self._focus()
        self._driver.set_page_load_timeout(timeout)
        self._driver.get(url)

    def run(self, function: str, argument: str | None, timeout: float) -> str:
        self._focus()
        self._driver.set_script_timeout(timeout)
        source = (
            "const done = arguments[arguments.length - 1];"
            "const argument = arguments[0] === null ? undefined : arguments[0];"
            f"({function})(argument).then(done);"
        )
        try:
            text: str = self._driver.execute_async_script(source, argument)
        except TimeoutException as error:
            raise PageError(f"not settled within {timeout:g} s", "TimeoutError") from error
        except WebDriverException as error:
            raise PageError(str(error.msg), "Error") from error
        return text

    def add_init_script(self, source: str) -> None:
        raise BrowserError("WebKitGTK's WebDriver can't run script before a page's own")

    def screenshot(self) -> bytes:
        self._focus()
        return base64.b64decode(self._driver.get_screenshot_as_base64())

    def close(self) -> None:
        self._focus()
        # WebDriver ends the session with the last window; so a bare one stays.
        if len(self._driver.window_handles) == 1:
            self._driver.switch_to.new_window("window")
            self._driver.switch_to.window(self._handle)
        self._driver.close()
        self._driver.switch_to.window(self._driver.window_handles[0])


class WebKit(Browser):
    """WebKitGTK under Xvfb. Storage is that of an automation session: gone when it ends."""

    name = "webkit"

    def __init__(self, profile: Path | None, args: tuple[str, ...]) -> None:
        if profile is not None:
            raise BrowserError("WebKitGTK keeps no storage between automation sessions")
        self._temporary = tempfile.mkdtemp(prefix="pywasm-webkit-")
        binary = next((path for path in MINIBROWSER if Path(path).exists()), None)
        binary = binary or find("MiniBrowser")
        command = [
            find("Xvfb"),
            "-displayfd",
            "1",
            "-screen",
            "0",
            "1280x900x24",
            "-nolisten",
            "tcp",
        ]
        self._screen = Group(command, Path(self._temporary) / "screen")
        try:
            display = ":" + self._screen.wait_for_line(r"(?m)^(\d+)\n")[1]
            options = Options()
            options.binary_location = binary
            options.add_argument("--automation")
            for arg in args:
                options.add_argument(arg)
            env = {**os.environ, "DISPLAY": display, "HOME": self._temporary}
            # As root the sandbox can't be set up; the pages are our own.
            env["WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS"] = "1"
            env["LIBGL_ALWAYS_SOFTWARE"] = "1"
            env["XDG_RUNTIME_DIR"] = self._temporary
            service = Service(executable_path=find("WebKitWebDriver"), env=env)
            self._service = service
            with warnings.catch_warnings():
                # Selenium's own class for WebKitGTK uses what Selenium has deprecated.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._driver = webdriver.WebKitGTK(options=options, service=service)
        except BaseException:
            self._screen.kill()
            raise
        self.version = str(self._driver.capabilities["browserVersion"])
        self._fresh: str | None = self._driver.current_window_handle

    def new_page(self, isolated: bool = False) -> Page:
        if isolated:
            raise BrowserError("WebKitGTK's WebDriver has one storage a session: launch another")
        handle, self._fresh = self._fresh, None
        if handle is None:
            self._driver.switch_to.new_window("window")  # a background tab is never painted
            handle = self._driver.current_window_handle
        return WebKitPage(self._driver, handle)

    def kill(self) -> None:
        raise BrowserError(
            "WebKitGTK keeps no storage between automation sessions: nothing to kill"
        )

    def close(self) -> None:
        try:
            self._driver.quit()
        except WebDriverException:
            self._service.stop()
        self._screen.end()
        shutil.rmtree(self._temporary, ignore_errors=True)

"""Firefox, driven by WebDriver BiDi over a WebSocket (https://w3c.github.io/webdriver-bidi/)."""

from __future__ import annotations

import base64
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from .interface import Browser, BrowserError, Page, PageError
from .process import Group, find
from .rpc import Rpc

# Quiet start: no first-run pages, no updates, nothing sent anywhere.
PREFERENCES = """
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.page", 0);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.tabs.warnOnClose", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("dom.disable_open_during_load", false);
user_pref("dom.ipc.processPrelaunch.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("services.settings.server", "");
user_pref("remote.active-protocols", 1);
"""


class FirefoxPage(Page):
    """A top-level browsing context."""

    def __init__(self, rpc: Rpc, context: str) -> None:
        self._rpc = rpc
        self._context = context

    def goto(self, url: str, timeout: float = 30.0) -> None:
        params = {"context": self._context, "url": url, "wait": "complete"}
        self._rpc.call("browsingContext.navigate", params, timeout)

    def run(self, function: str, argument: str | None, timeout: float) -> str:
        params: dict[str, Any] = {
            "functionDeclaration": function,
            "awaitPromise": True,
            "target": {"context": self._context},
            "arguments": [
                {"type": "undefined"} if argument is None else {"type": "string", "value": argument}
            ],
            "userActivation": True,
        }
        try:
            answer = self._rpc.call("script.callFunction", params, timeout)
        except TimeoutError as error:
            raise PageError(f"not settled within {timeout:g} s", "TimeoutError") from error
        if answer["type"] == "exception":
            raise PageError(answer["exceptionDetails"]["text"], "Error")
        text: str = answer["result"]["value"]
        return text

    def add_init_script(self, source: str) -> None:
        params = {"functionDeclaration": f"() => {{ {source} }}", "contexts": [self._context]}
        self._rpc.call("script.addPreloadScript", params)

    def screenshot(self) -> bytes:
        params = {"context": self._context}
        return base64.b64decode(self._rpc.call("browsingContext.captureScreenshot", params)["data"])

    def close(self) -> None:
        params = {"context": self._context, "promptUnload": False}
        self._rpc.call("browsingContext.close", params)


class Firefox(Browser):
    """Firefox (ESR or not), headless."""

    name = "firefox"

    def __init__(self, profile: Path | None, args: tuple[str, ...]) -> None:
        self._temporary = tempfile.mkdtemp(prefix="pywasm-firefox-")
        self._profile = profile or Path(self._temporary) / "profile"
        self._profile.mkdir(parents=True, exist_ok=True)
        (self._profile / "user.js").write_text(PREFERENCES)
        command = [find("firefox-esr", "firefox"), "--headless", "--no-remote"]
        command += ["--profile", str(self._profile), "--remote-debugging-port", "0", *args]
        log = Path(self._temporary) / "log"
        self._group = Group(command, log, {"MOZ_CRASHREPORTER_DISABLE": "1"})
        try:
            url = self._group.wait_for_line(r"WebDriver BiDi listening on (ws://\S+)", 60)[1]
            self._rpc = Rpc(f"{url}/session")
            session = self._rpc.call("session.new", {"capabilities": {}})
        except BaseException:
            self._group.kill()
            raise
        self.version = session["capabilities"]["browserVersion"]

    def new_page(self, isolated: bool = False) -> Page:
        params: dict[str, Any] = {"type": "tab"}
        if isolated:
            params["userContext"] = self._rpc.call("browser.createUserContext")["userContext"]
        context = self._rpc.call("browsingContext.create", params)["context"]
        return FirefoxPage(self._rpc, context)

    def kill(self) -> None:
        self._group.kill()

    def close(self) -> None:
        if self._group.process.poll() is None:
            try:
                self._rpc.call("browser.close", timeout=5)
                end = time.monotonic() + 5
                while self._group.process.poll() is None and time.monotonic() < end:
                    time.sleep(0.02)
            except (BrowserError, TimeoutError):
                pass  # it ends by signal, below
        self._rpc.close()
        self._group.end()
        shutil.rmtree(self._temporary, ignore_errors=True)

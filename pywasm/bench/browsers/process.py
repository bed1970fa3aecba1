"""Browsers as operating-system processes: their own process group, ended as a whole."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .interface import BrowserError


def find(*names: str) -> str:
    """Path of the first of these programs that is installed."""
    for name in names:
        if path := shutil.which(name):
            return path
    raise BrowserError(f"none of these programs is installed: {', '.join(names)}")


class Group:
    """A program started in a process group of its own, its output in a file."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if env is None else {**os.environ, **env},
                start_new_session=True,
            )
        # Whatever goes wrong on the way out (an interrupt inside a driver), no browser outlives us.
        atexit.register(self.kill)

    def wait_for_line(self, pattern: str, timeout: float = 30.0) -> re.Match[str]:
        """Wait until the program prints something that matches `pattern`."""
        end = time.monotonic() + timeout
        while True:
            text = self.log.read_text("utf-8", "replace")
            if match := re.search(pattern, text):
                return match
            if self.process.poll() is not None or time.monotonic() > end:
                what = "ended" if self.process.poll() is not None else "said nothing"
                raise BrowserError(f"{self.process.args!r} {what}:\n{text[-2000:]}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send a signal to every process of the group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self, patience: float = 5.0) -> None:
        """SIGTERM, and SIGKILL to what is still there after `patience` seconds."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the group."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        atexit.unregister(self.kill)


def processes_with(argument: str) -> list[int]:
    """Process ids whose command line holds exactly this argument."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument.encode() in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
    return found

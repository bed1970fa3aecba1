"""How much memory a browser's page takes: resident sets of renderers, from Linux's /proc."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from .browsers.chromium import Chromium


class Renderers:
    """The processes in which a browser's pages run, their workers included."""

    def __init__(self, browser: Chromium) -> None:
        if not Path("/proc/self/status").exists():
            raise RuntimeError("the memory of a renderer is read from /proc, which only Linux has")
        self._browser = browser

    def reset(self) -> None:
        """Peaks count from now on."""
        for pid in self._pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def resident(self) -> float:
        """MB of the largest now."""
        return max(self._status(pid).get("VmRSS", 0.0) for pid in self._pids())

    def peak(self) -> float:
        """MB of the largest, at most since reset() or since it began."""
        return max(self._status(pid).get("VmHWM", 0.0) for pid in self._pids())

    def _pids(self) -> list[int]:
        with contextlib.closing(self._browser.rpc()) as rpc:
            processes = rpc.call("SystemInfo.getProcessInfo")["processInfo"]
        return [process["id"] for process in processes if process["type"] == "renderer"]

    @staticmethod
    def _status(pid: int) -> dict[str, float]:
        """Fields of /proc/PID/status that are sizes, in MB; nothing for a process that is gone."""
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return {}
        return {name: int(kb) * 1.024e-3 for name, kb in re.findall(r"(\w+):\s+(\d+) kB", text)}

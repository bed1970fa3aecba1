"""What a browser's processes take, from Linux's /proc."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path


def renderers(group: int) -> list[int]:
    """Process ids of the renderers of the browser whose process group is `group`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            pid = int(entry.name)
            if os.getpgid(pid) == group and b"--type=renderer" in (entry / "cmdline").read_bytes():
                found.append(pid)
    return found


def memory(pids: list[int]) -> tuple[int, int]:
    """Bytes of their own (not of files) that the processes have now, and the most since reset()."""
    now = peak = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            status = (Path("/proc") / str(pid) / "status").read_text()
            kb = {name: int(size) for name, size in re.findall(r"(\w+):\s+(\d+) kB", status)}
            now += (kb["RssAnon"] + kb["RssShmem"]) << 10
            peak += (kb["VmHWM"] - kb["RssFile"]) << 10
    return now, peak


def reset(pids: list[int]) -> None:
    """The peaks count from now on."""
    for pid in pids:
        with contextlib.suppress(OSError):
            (Path("/proc") / str(pid) / "clear_refs").write_text("5")

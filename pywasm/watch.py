"""Waiting for a source to change, by looking: works on every file system, needs no package."""

import time
from pathlib import Path

_PAUSE = 0.5  # seconds between two looks


def snapshot(paths: list[Path]) -> dict[str, tuple[int, int]]:
    """(size, time of change) of every file at or below `paths`."""
    found: dict[str, tuple[int, int]] = {}
    pending = list(paths)
    while pending:
        path = pending.pop()
        try:
            if path.is_dir():
                pending += [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            else:
                state = path.stat()
                found[str(path)] = (state.st_size, state.st_mtime_ns)
        except OSError:  # removed while we look
            continue
    return found


def wait_for_change(
    paths: list[Path], before: dict[str, tuple[int, int]], pause: float = _PAUSE
) -> dict[str, tuple[int, int]]:
    """Returns what is there once it differs from `before` and has been still for one pause."""
    while True:
        time.sleep(pause)
        now = snapshot(paths)
        while now != before:
            time.sleep(pause)  # an editor or a checkout may still be writing
            settled = snapshot(paths)
            if settled == now:
                return settled
            now = settled

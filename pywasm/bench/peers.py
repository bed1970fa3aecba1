"""The peers from npm: where they are, and installing them once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "web" / "bench"


class PeersMissing(RuntimeError):
    """The peers can't be installed here."""


def install() -> Path:
    """The node_modules folder with the peers, installed by npm at first use."""
    modules = PACKAGE / "node_modules"
    lock = PACKAGE / "package-lock.json"
    if not lock.exists():
        raise PeersMissing(f"--peers needs a checkout of the project: no {lock}")
    stamp = modules / ".package-lock.json"
    if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise PeersMissing("--peers needs npm to install the JavaScript peers; run `make setup`")
    command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeersMissing(f"npm ci in {PACKAGE} failed:\n{done.stderr[-1000:]}")
    return modules

"""The wheel builds sites with neither Node nor Emscripten nor a C++ compiler present."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made by the build backend from this tree."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(out), str(ROOT)], check=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_carries_the_browser_bundle_and_both_packages(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "pywasm/_web/engine.wasm",
        "pywasm/_web/builder.wasm",
        "pywasm/_web/pywasm.js",
        "pywasm_jit/__init__.py",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith(("pywasm/tools/", "tests/"))]


def test_an_installed_wheel_builds_and_verifies_a_site(wheel: Path, tmp_path: Path) -> None:
    """A new environment, a PATH with nothing on it but that environment."""
    home = tmp_path / "env"
    venv.EnvBuilder(with_pip=True).create(home)
    python = home / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)
    # Its dependencies are those of the environment that runs the tests (a line in a .pth adds the
    # folder itself, not the .pth files in it, so the editable install stays out of sight).
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")

    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "tea.md").write_text("# Tea\n\nSteep green tea at eighty degrees.\n")
    (documents / "bread.md").write_text("# Bread\n\nKnead the dough for ten minutes.\n")
    environment = {"PATH": str(home / "bin"), "HOME": os.environ["HOME"]}

    def run(*words: str) -> str:
        done = subprocess.run(
            [str(home / "bin" / "pywasm"), *words],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = subprocess.run(
        [str(python), "-c", "import pywasm, pywasm_jit; print(pywasm.__file__)"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(home) in where.stdout
    run("build", str(documents), "-o", str(tmp_path / "site"))
    run("verify", str(tmp_path / "site"))
    assert (tmp_path / "site" / "index.html").is_file()

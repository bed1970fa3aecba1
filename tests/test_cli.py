"""The command line as a person meets it: one line for what can be mended, JSON for scripts."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pywasm.manifest import read_manifest
from tests.conftest import write_documents


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pywasm.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**__import__("os").environ, "COLUMNS": "100", "TERM": "dumb"},
    )


def test_build_inspect_and_verify_speak_json(tmp_path: Path) -> None:
    site = tmp_path / "site"
    source = write_documents(tmp_path / "documents")
    built = run("build", source, "-o", site, "--json", "--no-bundle", "--title", "My notes")
    assert built.returncode == 0, built.stderr
    result = json.loads(built.stdout)
    assert result["documents"] == 5 and result["title"] == "My notes"
    inspected = json.loads(run("inspect", site, "--json").stdout)
    assert inspected["generation"] == result["generation"]
    verified = run("verify", site, "--json")
    assert verified.returncode == 0 and json.loads(verified.stdout)["problems"] == []
    shard = site / read_manifest(site).shards[0].file
    shard.write_bytes(bytes(shard.stat().st_size))
    damaged = run("verify", site)
    assert damaged.returncode == 1
    assert shard.name in re.sub(r"\s", "", damaged.stdout)


def test_what_a_person_reads(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(50, 8)))
    site = tmp_path / "site"
    built = run("build", tmp_path / "v.npy", "-o", site, "--no-bundle")
    assert built.returncode == 0, built.stderr
    assert "50" in built.stdout and "pywasm serve" in built.stdout
    shown = run("inspect", site).stdout
    assert "flat" in shown and "8 dimensions" in shown and "full vectors" in shown
    assert "all checksums are right" in run("verify", site).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build"], "what shall be built?"),
        (["build", "nowhere"], "nowhere: no such file or folder"),
        (["build", "nowhere", "--codes", "9"], "--codes 9: expected auto"),
        (["build", "--python-docs", "--encoder", "./none"], "no such file or directory"),
        (["inspect", "."], "no manifest.json here"),
        (["verify", "."], "no manifest.json here"),
        (["serve", "."], "no manifest.json here"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last


def test_help_teaches_with_examples() -> None:
    shown = run("build", "--help").stdout
    assert "pywasm build ./docs -o site" in shown and "--python-docs" in shown
    assert "build" in run("--help").stdout
    assert run("--version").stdout.startswith("pywasm ")

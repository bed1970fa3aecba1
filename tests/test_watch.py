"""Changes are seen once they have settled."""

import threading
import time
from pathlib import Path

from pywasm.watch import snapshot, wait_for_change


def test_new_changed_and_removed_files_differ(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / ".git").mkdir()
    first = snapshot([tmp_path])
    (tmp_path / ".git" / "index").write_text("ignored")
    assert snapshot([tmp_path]) == first
    (tmp_path / "b").write_text("2")
    second = snapshot([tmp_path])
    assert second != first
    (tmp_path / "a").unlink()
    assert snapshot([tmp_path]) not in (first, second)
    assert snapshot([tmp_path / "nowhere"]) == {}


def test_waits_until_writing_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("")
    before = snapshot([tmp_path])

    def write() -> None:
        for length in range(1, 6):
            time.sleep(0.05)
            file.write_text("x" * length)

    writer = threading.Thread(target=write)
    writer.start()
    after = wait_for_change([tmp_path], before, pause=0.2)
    writer.join()
    assert after[str(file)][0] == 5

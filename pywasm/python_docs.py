"""The standard library of the running Python as a corpus: a document a docstring."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pywasm.documents import Document, Notes
from pywasm.errors import UserError
from pywasm.plain_text import text_blocks
from pywasm.python_docs_collect import SUBMODULES

SUGGESTIONS = (
    "How do I parse a date from a string?",
    "the three largest items of a list",
    "compress bytes before sending them",
    "a temporary directory that deletes itself",
    "execute a command in a subprocess and capture its output",
    "remember the results of a slow function",
    "count items and find the most common ones",
    "walk through all files below a folder",
)
_LICENCE = ("Python documentation strings", "PSF-2.0", "https://docs.python.org/3/license.html")
_COLLECT = Path(__file__).with_name("python_docs_collect.py")

# Modules documented on the page of another.
_PAGES_OF_ASYNCIO = {
    "create_task": "task",
    "sleep": "task",
    "gather": "task",
    "wait": "task",
    "wait_for": "task",
    "shield": "task",
    "timeout": "task",
    "timeout_at": "task",
    "Timeout": "task",
    "Task": "task",
    "TaskGroup": "task",
    "as_completed": "task",
    "to_thread": "task",
    "current_task": "task",
    "all_tasks": "task",
    "run_coroutine_threadsafe": "task",
    "iscoroutine": "task",
    "run": "runner",
    "Runner": "runner",
    "open_connection": "stream",
    "start_server": "stream",
    "open_unix_connection": "stream",
    "start_unix_server": "stream",
    "StreamReader": "stream",
    "StreamWriter": "stream",
    "Lock": "sync",
    "Event": "sync",
    "Condition": "sync",
    "Semaphore": "sync",
    "BoundedSemaphore": "sync",
    "Barrier": "sync",
    "Queue": "queue",
    "PriorityQueue": "queue",
    "LifoQueue": "queue",
    "create_subprocess_exec": "subprocess",
    "create_subprocess_shell": "subprocess",
    "Future": "future",
    "isfuture": "future",
    "wrap_future": "future",
    "ensure_future": "future",
    "BaseProtocol": "protocol",
    "Protocol": "protocol",
    "BufferedProtocol": "protocol",
    "DatagramProtocol": "protocol",
    "SubprocessProtocol": "protocol",
    "BaseTransport": "protocol",
    "Transport": "protocol",
    "ReadTransport": "protocol",
    "WriteTransport": "protocol",
    "DatagramTransport": "protocol",
    "SubprocessTransport": "protocol",
}


class PythonDocsSource:
    """Docstrings of public modules, functions, classes and methods, by qualified name.

    Metadata: `module` and `kind` (module, function, class or method).
    """

    dim: int | None = None
    has_text = True
    numeric_text = False

    def __init__(self) -> None:
        self.licences = [_LICENCE]
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.title = f"Python {version} standard library"
        self._base_url = f"https://docs.python.org/{version}/library/"
        # A fixed hash seed: a default that is a set is written the same way each time. -sP and no
        # PYTHONPATH: only the standard library is found.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment["PYTHONHASHSEED"] = "0"
        result = subprocess.run(
            [sys.executable, "-sP", str(_COLLECT)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=environment,
            encoding="utf-8",
        )
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"reading this Python's docstrings failed: {reason}")
        self._entries = [json.loads(line) for line in result.stdout.splitlines()]
        self.total: int | None = len(self._entries)

    def documents(self, notes: Notes) -> Iterator[Document]:
        for entry in self._entries:
            name = entry["name"]
            yield Document(
                id=name if entry["kind"] != "module" else f"module {name}",
                origin=f"docstring of {name}",
                title=name,
                url=self._base_url + page_of(name, entry["module"], entry["kind"]),
                blocks=text_blocks(_lines(f"{name}{entry['signature']}\n\n{entry['text']}")),
                metadata={"module": entry["module"], "kind": entry["kind"]},
            )


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def page_of(name: str, module: str, kind: str) -> str:
    """Page and fragment on docs.python.org, e.g. 'heapq.html#heapq.nlargest'."""
    if kind == "module":
        return f"{_page(module)}.html#module-{module}"
    if module == "builtins":
        return f"{_page_of_builtin(name)}.html#{name}"
    if module == "asyncio":
        page = _PAGES_OF_ASYNCIO.get(name.split(".")[1], "eventloop")
        return f"asyncio-{page}.html#{name}"
    return f"{_page(module)}.html#{name}"


def _page(module: str) -> str:
    while "." in module and module not in SUBMODULES:
        module = module.rpartition(".")[0]
    return module.lower()


def _page_of_builtin(name: str) -> str:
    value = vars(__import__("builtins")).get(name.split(".")[0])
    if isinstance(value, type) and issubclass(value, BaseException):
        return "exceptions"
    return "stdtypes" if "." in name else "functions"

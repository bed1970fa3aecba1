"""Prints the docstrings of this Python's standard library, a JSON object a line.

Run as a script in a process of its own (python_docs.py), because importing every module of the
library may leave things behind. Standard library only.
"""

import importlib
import inspect
import json
import re
import sys
import types
import warnings
from collections.abc import Iterator

# Import with an effect (a browser, a printed poem), are tests, old tools or private to another.
_EXCLUDED = {
    "antigravity",
    "this",
    "idlelib",
    "lib2to3",
    "test",
    "turtledemo",
    "ensurepip",
    "pydoc_data",
    "posix",
    "nt",
    "posixpath",
    "ntpath",
    "genericpath",
    "sre_compile",
    "sre_constants",
    "sre_parse",
    "opcode",
    "nturl2path",
    "encodings",
    "msilib",
    "distutils",
    "imp",
    "tkinter",
    "turtle",
}
# Submodules with a documentation page of their own. Of the others the package exports what counts.
SUBMODULES = {
    "collections.abc",
    "concurrent.futures",
    "curses.ascii",
    "curses.panel",
    "email.charset",
    "email.contentmanager",
    "email.encoders",
    "email.errors",
    "email.generator",
    "email.header",
    "email.headerregistry",
    "email.iterators",
    "email.message",
    "email.mime",
    "email.parser",
    "email.policy",
    "html.entities",
    "html.parser",
    "http.client",
    "http.cookiejar",
    "http.cookies",
    "http.server",
    "importlib.metadata",
    "importlib.resources",
    "importlib.resources.abc",
    "logging.config",
    "logging.handlers",
    "multiprocessing.shared_memory",
    "os.path",
    "sys.monitoring",
    "unittest.mock",
    "urllib.error",
    "urllib.parse",
    "urllib.request",
    "urllib.robotparser",
    "xml.dom",
    "xml.dom.minidom",
    "xml.dom.pulldom",
    "xml.etree.ElementTree",
    "xml.sax",
    "xml.sax.handler",
    "xml.sax.saxutils",
    "xml.sax.xmlreader",
    "xmlrpc.client",
    "xmlrpc.server",
}
# Submodules documented on the page of their package.
PARTS = {
    "importlib.abc",
    "importlib.machinery",
    "importlib.util",
    "multiprocessing.managers",
    "multiprocessing.pool",
    "wsgiref.headers",
    "wsgiref.simple_server",
    "wsgiref.util",
}
_METHODS = (
    types.FunctionType,
    types.MethodDescriptorType,
    types.BuiltinFunctionType,
    types.ClassMethodDescriptorType,
    classmethod,
    staticmethod,
)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def entries() -> Iterator[dict[str, str]]:
    """{name, module, kind, signature, text} of every documented public object, once each."""
    seen: set[int] = set()
    for name in sorted(module_names(), key=lambda name: (name.count("."), name)):
        try:
            module = importlib.import_module(name)
        except BaseException:  # not built on this system, or needs a display
            continue
        if id(module) in seen:
            continue
        seen.add(id(module))
        if text := own_doc(module):
            yield entry(name, name, "module", "", text)
        for attribute, value in public(module, name):
            if id(value) in seen:
                continue
            seen.add(id(value))
            yield from described(name, attribute, value)


def module_names() -> Iterator[str]:
    for name in sys.stdlib_module_names:
        if not name.startswith("_") and name not in _EXCLUDED:
            yield name
    yield from SUBMODULES
    yield from PARTS


def public(module: types.ModuleType, name: str) -> Iterator[tuple[str, object]]:
    """What `__all__` lists, else what is defined here and has no leading underscore."""
    names = getattr(module, "__all__", None)
    for attribute in sorted(set(names if names is not None else vars(module))):
        if attribute.startswith("_"):
            continue
        value = getattr(module, attribute, None)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        home = getattr(value, "__module__", None)
        if names is not None or home == name or home is None:
            yield attribute, value


def described(module: str, attribute: str, value: object) -> Iterator[dict[str, str]]:
    name = attribute if module == "builtins" else f"{module}.{attribute}"
    if not inspect.isclass(value):
        if text := own_doc(value):
            yield entry(name, module, "function", signature(value), text)
        return
    if text := own_doc(value):
        yield entry(name, module, "class", signature(value), text)
    for member in sorted(vars(value)):
        raw = vars(value)[member]
        if member.startswith("_") or not isinstance(raw, _METHODS):
            continue
        bound = getattr(value, member, raw)
        if text := own_doc(bound):
            yield entry(f"{name}.{member}", module, "method", signature(bound), text)


def own_doc(value: object) -> str:
    """The docstring, unless it is inherited or says nothing (fewer than three words)."""
    text = vars(value).get("__doc__") if inspect.isclass(value) else getattr(value, "__doc__", None)
    text = inspect.cleandoc(text) if isinstance(text, str) else ""
    return text if len(text.split()) > 2 else ""


def signature(value: object) -> str:
    try:
        return _ADDRESS.sub("", str(inspect.signature(value)))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""


def entry(name: str, module: str, kind: str, signature: str, text: str) -> dict[str, str]:
    text = _ADDRESS.sub("", text)
    return {"name": name, "module": module, "kind": kind, "signature": signature, "text": text}


def main() -> None:
    warnings.simplefilter("ignore")
    output, sys.stdout = sys.stdout, sys.stderr  # an imported module may print
    for found in entries():
        output.write(json.dumps(found) + "\n")
    output.flush()


if __name__ == "__main__":
    main()

"""A folder of .txt, .md, .rst and .html files, one document a file."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from pywasm.documents import Block, Document, Notes
from pywasm.errors import UserError
from pywasm.html_text import read_page
from pywasm.markdown_text import markdown_blocks
from pywasm.plain_text import text_blocks
from pywasm.rst_text import rst_blocks
from pywasm.text_file import read_lines, read_text

READERS = {
    ".txt": text_blocks,
    ".text": text_blocks,
    ".md": markdown_blocks,
    ".markdown": markdown_blocks,
    ".rst": rst_blocks,
}
HTML = (".html", ".htm", ".xhtml")
DEFAULT_INCLUDE = tuple(f"**/*{suffix}" for suffix in (*READERS, *HTML))


class FolderSource:
    """Files in the order of their paths. A document's id is its path below the folder.

    `include` and `exclude` are globs over that path ('**' crosses folders); hidden files and
    folders are left out. `base_url` stands before the path in links; without it there are
    none, because nobody knows where the files are to be had.
    """

    dim: int | None = None
    has_text = True
    numeric_text = False

    def __init__(
        self,
        root: Path,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        base_url: str = "",
    ) -> None:
        self._root = root
        self._base_url = base_url
        self._files = find_files(root, include or DEFAULT_INCLUDE, exclude)
        if not self._files:
            wanted = ", ".join(include or [f"*{suffix}" for suffix in (*READERS, *HTML)])
            raise UserError(f"{root}: no file matches {wanted}; check the folder and --include")
        self.title = root.resolve().name
        self.total: int | None = len(self._files)
        self.licences: list[tuple[str, str, str]] = []

    def documents(self, notes: Notes) -> Iterator[Document]:
        for file in self._files:
            yield self._document(file, notes)

    def _document(self, file: Path, notes: Notes) -> Document:
        path = file.relative_to(self._root).as_posix()
        title = ""
        blocks: Iterator[Block]
        if file.suffix.lower() in HTML:
            page = read_page(read_text(file, notes))
            title = page.title
            blocks = iter(page.blocks)
        else:
            reader = READERS.get(file.suffix.lower(), text_blocks)
            blocks = reader(read_lines(file, notes))
        first = next(blocks, None)
        if not title and first is not None and first.level:
            title = first.text
        return Document(
            id=path,
            origin=str(file),
            title=title or file.stem,
            url=self._base_url + quote(path) if self._base_url else "",
            blocks=_with_first(first, blocks),
            metadata=_folder_of(path),
        )


def _with_first(first: Block | None, rest: Iterator[Block]) -> Iterator[Block]:
    if first is not None:
        yield first
        yield from rest


def _folder_of(path: str) -> dict[str, str | float]:
    """The first folder below the root, to filter by."""
    folder, _, name = path.partition("/")
    return {"folder": folder} if name else {}


def find_files(root: Path, include: tuple[str, ...], exclude: tuple[str, ...]) -> list[Path]:
    """Matching files below `root`, in the order of their paths. Symbolic links to folders are not
    followed, so a loop of links ends."""
    wanted = [glob_pattern(glob) for glob in include]
    unwanted = [glob_pattern(glob) for glob in exclude]
    found: list[tuple[str, Path]] = []
    pending = [root]
    while pending:
        for entry in pending.pop().iterdir():
            if entry.name.startswith("."):
                continue
            path = entry.relative_to(root).as_posix()
            if any(pattern.fullmatch(path) for pattern in unwanted):
                continue
            if entry.is_dir():
                if not entry.is_symlink():
                    pending.append(entry)
            elif any(pattern.fullmatch(path) for pattern in wanted) and entry.is_file():
                found.append((path, entry))
    return [entry for _, entry in sorted(found)]


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob over '/'-separated paths. Without a '/' it matches names in any folder."""
    if "/" not in glob:
        glob = "**/" + glob
    parts: list[str] = []
    for token in re.split(r"(\*\*/|/\*\*$|\*|\?|\[[^\]]+\])", glob.removeprefix("./")):
        match token:
            case "**/":
                parts.append("(?:.*/)?")
            case "/**":
                parts.append("/.*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if token.startswith("[") and token.endswith("]"):
                negated = token[1] == "!"
                members = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[1 + negated : -1])
                parts.append(f"[{'^' * negated}{members}]")
            case _:
                parts.append(re.escape(token))
    return re.compile("".join(parts))

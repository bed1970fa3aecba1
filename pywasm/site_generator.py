"""The language model that a site carries: compiled into the cache, with its prompt, written."""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from pywasm.answer_prompt import PromptTokens, chat_prompt
from pywasm.cache_dir import cache_dir
from pywasm.compile.plan_types import FILE_NAME, Plan, PlanDecoder, PlanFile, PlanModule
from pywasm.compile.run import read_file, read_plan
from pywasm.encoder import load_tokenizer
from pywasm.errors import UserError
from pywasm.generator import compile as importer
from pywasm.generator.compile import compile_generator
from pywasm.manifest import AnswerPrompt, Answers, FileInfo, ModeLoss, ShippedKv
from pywasm.models import find_model
from pywasm.progress import Reporter
from pywasm.shards import replace_file
from pywasm.site_encoder import compiler_sources

FOLDER = "generator"
NONE = "none"
# A model with less weights than this gives better answers from one document than from several.
_SMALL_BYTES = 400 << 20
_DOCUMENTS = 3


@dataclass(frozen=True)
class SiteGenerator:
    """A compiled decoder in `folder`, its files checked, and what it is asked with."""

    folder: Path
    plan: Plan
    decoder: PlanDecoder
    prompt: AnswerPrompt

    @property
    def identity(self) -> str:
        """What its KV depends on beside tokens; a browser puts the same together from the plan."""
        return f"kv1 {self.plan.source_sha256} {self.plan.compiler} {self.decoder.activations}"

    def tokens(self) -> PromptTokens:
        return PromptTokens(self.prompt, self.tokenizer())

    def tokenizer(self) -> tokenizers.Tokenizer:
        return load_tokenizer(self.folder / self.decoder.tokenizer.file)

    def write(self, site: Path) -> list[FileInfo]:
        """Into SITE/generator/, plan.json last; what visitors of the site as it was may still
        hold stays until the next time."""
        target = site / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        before = _names(target)
        infos = []
        for info in plan_files(self.plan):
            data = read_file(self.folder, info)
            if not _same(target / info.file, info):
                replace_file(target / info.file, data)
            infos.append(_info(info.file, data))
        data = (self.folder / FILE_NAME).read_bytes()
        replace_file(target / FILE_NAME, data)
        infos.append(_info(FILE_NAME, data))
        keep = before | _names(target) | {FILE_NAME}
        for file in target.iterdir():
            if file.name not in keep:
                file.unlink()
        return infos

    def answers(
        self, files: list[FileInfo], losses: list[ModeLoss], kv: ShippedKv | None
    ) -> Answers:
        """For the manifest; `files` of write()."""
        plan = self.plan
        return Answers(
            name=plan.name,
            licence=plan.licence,
            url=plan.url,
            plan=f"{FOLDER}/{FILE_NAME}",
            source_sha256=plan.source_sha256,
            weights=plan.weights_dtype,
            context=self.decoder.context,
            visit_bytes=plan.weights.bytes
            + self.decoder.tokenizer.bytes
            + max(module.bytes for module in plan.modules)
            + files[-1].bytes,
            files=files,
            prompt=self.prompt,
            losses=losses,
            kv=kv,
        )


def make_site_generator(name: str, reporter: Reporter) -> SiteGenerator | None:
    """`name`: "none", a folder made by `pywasm compile`, or a model for it. Raises UserError."""
    if name == NONE:
        return None
    with reporter.stage("compiling the language model", None):
        path = Path(name).expanduser()
        folder = path if (path / FILE_NAME).is_file() else _compiled(name)
        return open_site_generator(folder)


def _compiled(name: str) -> Path:
    """In the cache, where this compiler has compiled this model before."""
    source = find_model(name)
    digest = hashlib.sha256(source.name.encode())
    importers = sorted(Path(importer.__file__).parent.glob("*.py"))
    model = [source] if source.is_file() else sorted(source.iterdir())
    for file in (*compiler_sources(), *importers, *(file for file in model if file.is_file())):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    slug = re.sub(r"[^a-z0-9]+", "-", source.stem.lower()).strip("-")
    folder = cache_dir() / "compiled" / f"{slug}-decoder-{digest.hexdigest()[:16]}"
    try:
        plan = read_plan(folder)
        for info in plan_files(plan):
            if not _same(folder / info.file, info):
                raise UserError(f"{folder / info.file}: damaged")
    except UserError:  # not there, or damaged
        compile_generator(name).write(folder)
        for other in folder.parent.glob(f"{slug}-decoder-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def open_site_generator(folder: Path) -> SiteGenerator:
    """Of a compiled decoder. Raises UserError where it is none, or can't hold a conversation."""
    plan = read_plan(folder)
    decoder = plan.decoder
    if decoder is None:
        raise UserError(f"{folder}: compiled from a text encoder; --generator takes a decoder")
    if not decoder.template:
        raise UserError(
            f"{plan.name}: has no chat template; --generator takes a model that follows "
            "instructions (its name often ends in -Instruct)"
        )
    tokenizer = load_tokenizer(folder / decoder.tokenizer.file)
    documents = 1 if plan.weights.bytes < _SMALL_BYTES else _DOCUMENTS
    bos, eos = (
        "" if id is None else tokenizer.id_to_token(id) or ""
        for id in (decoder.bos, next(iter(decoder.eos), None))
    )
    return SiteGenerator(folder, plan, decoder, chat_prompt(decoder.template, bos, eos, documents))


def plan_files(plan: Plan) -> list[PlanFile | PlanModule]:
    """All files of a compiled decoder but plan.json."""
    assert plan.decoder is not None
    return [*plan.weights.shards, *plan.modules, plan.decoder.tokenizer]


def remove_generator(site: Path) -> None:
    """What SiteGenerator.write made."""
    folder = site / FOLDER
    if (folder / FILE_NAME).is_file():
        shutil.rmtree(folder)


def _names(folder: Path) -> set[str]:
    """Of the files of the plan in `folder`; empty where there is none that can be read."""
    try:
        plan = read_plan(folder)
    except UserError:
        return set()
    return {info.file for info in plan_files(plan)} if plan.decoder else set()


def _same(file: Path, info: PlanFile | PlanModule) -> bool:
    if not file.is_file() or file.stat().st_size != info.bytes:
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == info.sha256


def _info(name: str, data: bytes) -> FileInfo:
    digest = hashlib.sha256(data).hexdigest()
    return FileInfo(file=f"{FOLDER}/{name}", bytes=len(data), sha256=digest)

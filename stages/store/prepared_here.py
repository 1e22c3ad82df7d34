"""Prepared corpora of this machine that are not as they were left: files that were cut or removed since.

What was prepared here is known by the manifest in its folder, and by its marker where the folder itself is gone. A
clone, a CI and a login node without the disk of results have neither, and none is reported; nor where all of a
scale's corpora were removed. Only that files are there is looked at, and their sizes: digests are for `stages status
--deep`. Neither numpy nor a corpus is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from stages.check.findings import FILES, Finding
from stages.errors import InvalidSpecs
from stages.spec.loader_data import load_roots
from stages.spec.project import Project
from stages.store import json_file
from stages.store.layout import Layout
from stages.store.shards import Problem, Shard, compare, problem

MANIFEST = "manifest.json"


class _Part(BaseModel):
    """What is read of a manifest here: stages/data/corpus/corpus_manifest.py has the whole."""

    model_config = ConfigDict(frozen=True, strict=True)


class _File(_Part):
    size: int
    blake3: str


class _Dataset(_Part):
    prefix: str
    bin: _File
    idx: _File


class _Adoption(_Part):
    root: str | None = None
    datasets: list[_Dataset]


class _Inputs(_Part):
    bytes: int


class _Manifest(_Part):
    digest: str
    inputs: _Inputs | None = None
    shards: list[Shard]
    adopted: _Adoption | None = None


_MANIFEST = TypeAdapter(_Manifest)


def lost(project: Project, root: Path, scales: Sequence[str]) -> Iterator[Finding]:
    """A finding for each file of a corpus that was prepared as its spec declares it and is not whole any more."""
    declared = {name: one.digest for name, one in project.readable_corpora.items()}
    with suppress(InvalidSpecs):
        declared |= {"tokenizer": project.data.tokenizer.digest} if project.data.tokenizer is not None else {}
    for scale in scales:
        layout = Layout(root, scale)
        if layout.data.is_dir():
            markers = layout.markers / "data"
            marked = {one.name.partition(".")[0] for one in markers.iterdir()} if markers.is_dir() else set()
            for name, digest in declared.items():
                for found, repair in _problems(project, layout, name, digest, name in marked):
                    yield _finding(project, root, scale, name, found, repair)


def changed_sources(project: Project, root: Path, scales: Sequence[str]) -> Iterator[str]:
    """A notice for each corpus whose own files are others, by their size, than those that it was prepared from here.

    What is prepared stays as declared, so it is no finding; another scale or machine could not prepare it. Files named
    by a pattern are not looked for, and where none of them is there any more, they were removed on purpose.
    """
    for name, corpus in project.readable_corpora.items():
        paths = [corpus.path] if isinstance(corpus.path, str) else [*(corpus.path or ())]
        base = _base(project, Layout(root, scales[0]), corpus.root) if paths else None
        if base is None or any("*" in path or (base / path).is_dir() for path in paths):
            continue
        now = sum((base / path).stat().st_size for path in paths if (base / path).is_file())
        made = [_manifest(Layout(root, scale).corpus(name)) for scale in scales]
        then = [one.inputs.bytes for one in made if one and one.inputs is not None and one.digest == corpus.digest]
        if now and then and now not in then:
            where = project.files.entry("data", name).where(("path",))
            yield (
                f"{where}: {name} was prepared here from {then[0]:,} bytes, and its files have {now:,} now. What is "
                f"prepared stays as declared. To take in what is there now: `stages data {name} --accept`; else put "
                "the files back, for they could not be prepared again."
            )


def _manifest(folder: Path) -> _Manifest | None:
    """A corpus's manifest, where it is there and can be read."""
    with suppress(json_file.JsonFileError, PermissionError):
        return json_file.read_as(folder / MANIFEST, _MANIFEST)
    return None


def _problems(project: Project, layout: Layout, name: str, digest: str, marked: bool) -> Iterator[tuple[Problem, str]]:
    """What of a corpus is not as its manifest says, each with what to do."""
    folder = layout.corpus(name)
    again = f"Prepare it again: `stages data {name} --scale {layout.scale}`. Snakemake does so before what reads it."
    try:
        manifest = json_file.read_as(folder / MANIFEST, _MANIFEST)
    except json_file.MissingFileError:
        if marked:
            yield Problem(folder / MANIFEST, "what was prepared here", "nothing"), again
        return
    except (json_file.JsonFileError, PermissionError) as error:
        yield Problem(folder / MANIFEST, "a manifest that can be read", str(error)), again
        return
    if manifest.digest != digest:  # of another declaration: nothing reads it
        return
    yield from ((one, again) for one in compare(folder, manifest.shards, deep=False))
    if manifest.adopted is not None:
        base = _base(project, layout, manifest.adopted.root)
        back = f"Put it back, or declare what is there now: `stages data {name} --accept`. It is read where it lies."
        for one in manifest.adopted.datasets:
            for kind, file in ((".bin", one.bin), (".idx", one.idx)):
                if base is not None and (found := problem(base / f"{one.prefix}{kind}", file, deep=False)):
                    yield found, back


def _base(project: Project, layout: Layout, root: str | None) -> Path | None:
    """The folder that files outside of results/ lie below; None where this machine does not have it."""
    if root is None:
        return layout.root
    try:
        known = load_roots(project.files).get(root)
    except InvalidSpecs:
        return None
    return Path(known) if known is not None and Path(known).is_dir() else None


def _finding(project: Project, root: Path, scale: str, name: str, found: Problem, repair: str) -> Finding:
    document = project.files.entry("data", name)
    path = found.file.relative_to(root) if found.file.is_relative_to(root) else found.file
    expected = found.expected.partition(", blake3")[0]
    return Finding(
        FILES, scale, f"data/{name}", None, f"{path}: {found.actual}", expected, repair, document.where(("digest",))
    )  # fmt: skip

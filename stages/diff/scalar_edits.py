"""What was edited, as it is written: scalars of spec files that mean something else than before.

Comments, sources and prose mean nothing here, and neither does another spelling of the same quantity. Order means
something in a few places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from stages.diff.fields import reordered
from stages.errors import Where
from stages.spec import quantities
from stages.spec.files import Files
from stages.spec.nodes import Document, Path, Tree, dotted
from stages.spec.schema import corpora
from stages.spec.sources import NAMES, PROSE

SEPARATOR = ", "  # of the names of a list
# Lists whose order means nothing.
UNORDERED = frozenset({"stages", "train", "frozen", "evaluate", "heldout", "lm_eval", "drop"})
# What keys cover the order of: corpora take turns in it, and modules are updated in it.
ORDERED = frozenset({"sources", "groups", "modules"})
NOT_COMPUTED = frozenset({"execution", "evaluate", "evaluate_on", "evaluation"})
OF_MACHINES = frozenset({"engine", "device", "threads"})  # of a scale: numbers depend on its `engine_class`
ALL_MEANT = frozenset({"data", "release", "extends", "tokenizer"})  # words that are no prose where they are


MEASURED = frozenset({*corpora.MEASURED, "packed", "vocab"})  # what a preparation comes out with


@dataclass(frozen=True)
class Edit:
    """One scalar: where it stands now (or stood, where it is gone), its path by names, its text before and after.

    A file that is new or gone is one edit, without a key. `meaning` is what it may change: what is computed at the
    scale, only how it is run, priced or shown, or nothing at this scale (other scales and machines).
    """

    where: Where
    key: str
    old: str | None
    new: str | None
    meaning: Literal["computed", "run", "elsewhere"]


def edits(old: Files, new: Files, scale: str, machine: str) -> list[Edit]:
    """All edits of pipelines, data, scales and hardware, in the order of files and lines."""
    return sorted(_edits(old, new, scale, f"hardware/{machine}.yaml"), key=lambda edit: (edit.where, edit.key))


def _edits(old: Files, new: Files, scale: str, profile: str) -> Iterator[Edit]:
    read = {profile, *(f"scales/{name}.yaml" for files in (old, new) for name in _extended(files, scale))}
    for name in sorted(_names(old) | _names(new)):
        elsewhere = name.startswith(("hardware/", "scales/")) and name not in read
        before, after = _document(old, name), _document(new, name)
        olds = _scalars(before) if before else {}
        news = _scalars(after) if after else {}
        if before is None or after is None:
            gone, came = (f"{len(of)} values" if document else None for of, document in ((olds, before), (news, after)))
            whole: Literal["computed", "run"] = "run" if name == profile else "computed"
            yield Edit(Where(f"specs/{name}", 1), "", gone, came, "elsewhere" if elsewhere else whole)
            continue
        for key in {**olds, **news}:
            was, now = olds.get(key), news.get(key)
            shown = now or was
            if shown is not None and (was is None or now is None or not quantities.same(was[0], now[0])):
                run = NOT_COMPUTED & set(key) or (name.startswith("scales/") and key[0] in OF_MACHINES)
                meaning: Literal["computed", "run"] = "run" if run or name == profile else "computed"
                texts = (was[0] if was else None, now[0] if now else None)
                yield Edit(shown[1], shown[2], *texts, "elsewhere" if elsewhere else meaning)
        yield from _reordered(before, after)


def _reordered(old: Document, new: Document) -> Iterator[Edit]:
    """Lists whose names stand in another order than before."""
    before = {known: names for _, known, _, names in _ordered(old.value, (), (), ())}
    for path, known, named, names in _ordered(new.value, (), (), ()):
        if pair := reordered(before.get(known, []), names):
            yield Edit(new.where(path), dotted((*named, "order")), *pair, "computed")


def unprepared(edits: Iterable[Edit]) -> Iterator[str]:
    """Corpora (and the tokenizer) whose recipe is edited while the digest of what it makes is as before."""
    files: dict[str, set[str]] = {}
    for edit in edits:
        folder, _, file = edit.where.file.removeprefix("specs/").partition("/")
        if folder == "data" and edit.key and file not in ("mixtures.yaml", "published.yaml"):
            files.setdefault(file.removesuffix(".yaml"), set()).add(edit.key.split(".")[0])
    yield from (name for name, keys in files.items() if "digest" not in keys and keys - MEASURED)


def _extended(files: Files, scale: str) -> Iterator[str]:
    """A scale and those that it extends; one that a revision does not have extends none."""
    seen: set[str] = set()
    name: object = scale
    while isinstance(name, str) and name not in seen and (document := _document(files, f"scales/{name}.yaml")):
        yield name
        seen.add(name)
        name = document.value.get("extends")


def _names(files: Files) -> set[str]:
    return {path.relative_to(files.specs).as_posix() for path in files.specs.glob("*/*.yaml")}


def _document(files: Files, name: str) -> Document | None:
    path = files.specs / name
    return files.document(path) if path.is_file() else None


def _scalars(document: Document) -> dict[Path, tuple[str, Where, str]]:
    """Every scalar that means something: its text, its place and its path by names.

    Items of lists are known by their names where they have one, but phases by their number: a phase may be renamed.
    """
    return {
        known: (text, document.where(path), dotted(named))
        for path, known, named, text in _walk(document.value, (), (), ())
    }


def _walk(tree: Tree, path: Path, known: Path, named: Path) -> Iterator[tuple[Path, Path, Path, str]]:
    """Scalars with their path by index, by what they are known by, and by names."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if (key in PROSE and key not in ALL_MEANT) or (key == "sources" and _marks(value)):
                continue
            yield from _walk(value, (*path, key), (*known, key), (*named, key))
    elif isinstance(tree, list) and path and path[-1] in UNORDERED:
        yield path, known, named, SEPARATOR.join(sorted(str(item) for item in tree))
    elif (
        isinstance(tree, list)
        and tree
        and all(isinstance(item, str) and not quantities.is_number(item) for item in tree)
    ):
        yield path, known, named, SEPARATOR.join(tree)
    elif isinstance(tree, list):
        for item, *paths in _items(tree, path, known, named):
            yield from _walk(item, *paths)
    else:
        yield path, known, named, {True: "true", False: "false", None: "null"}.get(tree, str(tree))


def _ordered(tree: Tree, path: Path, known: Path, named: Path) -> Iterator[tuple[Path, Path, Path, list[str]]]:
    """Lists and mappings whose order means something, with their names; paths as `_walk` has them."""
    if path and path[-1] in ORDERED and not _marks(tree):
        if isinstance(tree, dict):
            yield path, known, named, list(tree)
        elif isinstance(tree, list):
            yield path, known, named, [str(_called(item, index)) for index, item in enumerate(tree)]
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _ordered(value, (*path, key), (*known, key), (*named, key))
    elif isinstance(tree, list):
        for item, *paths in _items(tree, path, known, named):
            yield from _ordered(item, *paths)


def _items(tree: list[Tree], path: Path, known: Path, named: Path) -> Iterator[tuple[Tree, Path, Path, Path]]:
    """The items of a list with their paths, as `_walk` has them."""
    for index, item in enumerate(tree):
        name = _called(item, index)
        own = index if path[-1:] == ("phases",) else name
        yield item, (*path, index), (*known, own), (*named, name)


def _called(item: Tree, index: int) -> str | int:
    """The name of an item of a list, or its number where it has none."""
    names = (item[key] for key in NAMES if isinstance(item, dict) and isinstance(item.get(key), str))
    return next(names, index)


def _marks(value: Tree) -> bool:
    """Whether a `sources:` is the list of citations, and not a mixture's list of corpora."""
    return isinstance(value, list) and all(isinstance(one, dict) and "covers" in one for one in value)

"""Every scalar of every spec file, changed in whatever ways still resolve, and what that does to the keys of stages."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path as FilePath

import yaml

from stages.errors import UserError
from stages.spec.nodes import Path, Tree
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.schema import corpora
from stages.sync import dvc, graph, params

MEASURED = frozenset(corpora.MEASURED)
NUMBER = re.compile(r"([\d_]+(?:\.\d+)?(?:e-?\d\d?)?)(/\d+)?(\D.*)?")
DIGEST = re.compile(r"[0-9a-f]{64}")
FEW = 4  # other words tried in a word's place


@dataclass(frozen=True)
class Edit:
    """One leaf with another value, the stages whose keys that changes, and those that DVC then calls."""

    changed: frozenset[str]
    called: frozenset[str]


class Specs:
    """The shipped pipelines at a scale, and dvc.yaml of it."""

    def __init__(self, root: FilePath, scale: str) -> None:
        self.root, self.scale, self.project = root, scale, Project.load(root)
        self.graph = graph.load(root, self.project, scale)
        watched = {ref: params.watched(self.project, ref, scale) for ref in self.graph.published}
        self.stages = yaml.safe_load(dvc.text(self.graph, watched))["stages"]

    @cached_property
    def files(self) -> list[str]:
        """Spec files from which the published stages of this scale follow, relative to specs/."""
        names = [f"{name}/*.yaml" for name in (*self.project.pipelines(variants=False), "data")]
        found = [path for name in names for path in sorted(self.project.files.specs.glob(name))]
        return [str(path.relative_to(self.project.files.specs)) for path in found] + [f"scales/{self.scale}.yaml"]

    def tree(self, file: str) -> Tree:
        """A file's value."""
        return self.project.files.document(self.project.files.specs / file).value

    @cached_property
    def words(self) -> dict[str, list[str]]:
        """Whatever stands under a key of some name, in any file."""
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for file in self.files:
            for path in leaves(self.tree(file)):
                found[_name(path)][str(at(self.tree(file), path))] = None
        return {name: list(words) for name, words in found.items()}

    def edits(self, file: str, path: Path) -> Iterator[Edit]:
        """What every other value of a leaf that the specs allow does."""
        for tree in self._bent(file, path):
            keys = self._keys(file, tree)
            if keys is not None:
                changed = frozenset(ref for ref, key in keys.items() if key != self.graph.keys[ref])
                yield Edit(changed, self._called(f"specs/{file}", path, changed))

    def _bent(self, file: str, path: Path) -> Iterator[Tree]:
        old = at(self.tree(file), path)
        for value in _others(old, self.words[_name(path)]):
            tree = copy.deepcopy(self.tree(file))
            at(tree, path[:-1])[path[-1]] = value
            yield tree
        if path[-1] == "share":  # those of a group have to sum to 1: exchanged with its neighbours'
            for other in range(len(at(self.tree(file), path[:-2]))):
                tree = copy.deepcopy(self.tree(file))
                group = at(tree, path[:-2])
                group[path[-2]]["share"], group[other]["share"] = group[other]["share"], group[path[-2]]["share"]
                yield tree

    def _keys(self, file: str, tree: Tree) -> dict[str, str] | None:
        """The keys of the stages that a file may concern; None where its new content is refused."""
        path, folder = self.project.files.specs / file, file.split("/")[0]
        bent = Project(self.root)
        bent.files._documents = {
            **self.project.files._documents,
            path: replace(self.project.files.document(path), value=tree),
        }
        pipelines = self.project.pipelines(variants=False)
        if folder in pipelines:
            pipelines, bent.__dict__["data"] = [folder], self.project.data
        else:
            bent._pipelines = self.project._pipelines
        try:
            resolved = [bent.resolve(name, self.scale) for name in pipelines]
        except UserError:
            return None
        return {one.refs[stage]: key for one in resolved for stage, key in one.keys.items() if stage in one.refs}

    def _called(self, file: str, path: Path, changed: frozenset[str]) -> frozenset[str]:
        """Stages that watch the leaf, or find another manifest of a parent or of a corpus."""
        return frozenset(
            ref
            for ref, stage in self.graph.published.items()
            if self.watches(ref, file, path)
            or changed & set(stage.parents)
            or (path[0] in MEASURED and any(file == f"specs/data/{name}.yaml" for name in self._corpora(stage)))
        )

    def _corpora(self, stage: Stage) -> tuple[str, ...]:
        return graph.corpora(stage, self.graph)

    def watches(self, ref: str, file: str, path: Path) -> bool:
        """Whether a parameter of a stage in dvc.yaml covers a leaf."""
        for entry in self.stages[graph.rule_name(ref)]["params"]:
            keys = entry.get(file, [])
            if keys is None or any(path[: len(key.split("."))] == tuple(key.split(".")) for key in keys):
                return True
        return False


def leaves(tree: Tree, path: Path = ()) -> Iterator[Path]:
    """The path of every scalar."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        yield path
    for key, value in items or ():
        yield from leaves(value, (*path, key))


def at(tree: Tree, path: Path) -> Tree:
    """What stands at a path."""
    for part in path:
        tree = tree[part]
    return tree


def _name(path: Path) -> str:
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def _others(old: Tree, words: Iterable[str]) -> Iterator[Tree]:
    """Other values for a leaf: numbers near it in its unit, the other truth value, words that stand in its like."""
    if isinstance(old, bool):
        yield not old
        return
    if DIGEST.fullmatch(str(old)):
        yield old[::-1]
        return
    found = NUMBER.fullmatch(str(old))
    if found is None:
        yield from [word for word in words if word != old][:FEW]
        yield f"{old}x"
        return
    digits, over, unit = found.groups()
    value = Fraction(digits.replace("_", ""))
    for other in {value * 2, value / 2, value + 1, value * Fraction(101, 100)} - {value}:
        whole = other.denominator == 1
        yield f"{other.numerator if whole else float(other)}{over or ''}{unit or ''}"

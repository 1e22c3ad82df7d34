"""Every spec file of a project by its kind, as the loader reads it, as an editor does, and with one leaf changed."""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML

from stages.cluster.site import RawSite
from stages.spec import json_schema, nodes
from stages.spec.fields import Raw
from stages.spec.nodes import Document, Path, Tree
from stages.spec.project import Project
from stages.spec.schema.stages import STAGES

ROOT = FilePath(__file__).resolve().parents[3]
MODELS: dict[str, type[Raw]] = {
    **json_schema.FILES, **{f"stage_{kind}": model for kind, model in STAGES.items()}, "site": RawSite
}  # fmt: skip
PLAIN = re.compile(r"(?:[\w.+]|-(?=[\w.]))[\w.+% /-]*", re.ASCII)
WORDS = frozenset({"", "~", "null", "true", "false", "-"})
NAMED = {name: name for name in ("mixtures", "published", "tokenizer", "bind", "roots")}


@dataclass(frozen=True)
class SpecFile:
    """A file, the schema that fits it, and its value: of a variant only what it changes."""

    name: str
    schema: str
    value: Tree

    def document(self) -> Document:
        """The value written out and read again, so that every leaf has a line."""
        return nodes.parse(dump(self.value).encode(), f"specs/{self.name}")

    def changed(self, path: Path, value: Tree) -> SpecFile:
        """The same file with another value at a path, whose mappings are made where they are missing."""
        tree = copy.deepcopy(self.value)
        here = tree
        for part, after in pairwise(path):
            inner: Tree = [] if isinstance(after, int) else {}
            if isinstance(here, list) and part == len(here):
                here.append(inner)
            elif not isinstance(here, list) and not isinstance(here.get(part), type(inner)):
                here[part] = inner
            here = here[part]
        here[path[-1]] = value
        return SpecFile(self.name, self.schema, tree)


def unshipped() -> Iterator[SpecFile]:
    """Files of each kind that has numbers and no file in this project: all that a kind may have."""
    special = {"bos": "<s>", "eos": "</s>", "pad": "none", "turn_begin": "none", "turn_end": "none"}
    files: Tree = {
        "tokenizer": "mine", "source": "me/mine", "revision": "0" * 40, "licence": "mit", "path": "tokenizers/mine",
        "vocab": "50_304", "digest": "0" * 64, "roles": special,
    }  # fmt: skip
    yield SpecFile("tokenizers/mine.yaml", "tokenizer_files", files)
    weighted: Tree = {"from": ["a", "b"], "weights": "weighted", "shares": {"a": "1", "b": "3"}}
    average: Tree = {"from": ["a@1B", "a"], "weights": "ema", "decay": "0.9"}
    for name, init in (("soup", weighted), ("average", average)):
        yield SpecFile(f"mine/{name}.yaml", "stage_merge", {"stage": name, "box": "x", "kind": "merge", "init": init})
    yield _anchored_at_the_most()


def _anchored_at_the_most() -> SpecFile:
    """Scale mini of one pipeline, whose published budget is the largest: what it becomes may be any count."""
    mini = next(file for file in shipped() if file.name == "scales/mini.yaml")
    first = dict(list(mini.value["pipelines"].items())[:1])
    (name,) = first
    alone = SpecFile("scales/mine.yaml", "scale", mini.changed(("pipelines",), first).value)
    return alone.changed(("pipelines", name, "tokens", "anchor", "paper"), "1_000T")


def shipped() -> Iterator[SpecFile]:
    """Every file below specs/, and slurm/site.yaml."""
    yield from project_files(ROOT)
    yield SpecFile("../slurm/site.yaml", "site", nodes.parse((ROOT / "slurm/site.yaml").read_bytes(), "site").value)


def project_files(root: FilePath) -> Iterator[SpecFile]:
    """Every file below specs/ of a project."""
    project = Project.load(root)
    for path in sorted((root / "specs").rglob("*.yaml")):
        name = path.relative_to(root / "specs").as_posix()
        value = nodes.parse(path.read_bytes(), name).value
        yield SpecFile(name, _schema(project, name, value), value)


def _schema(project: Project, name: str, value: Tree) -> str:
    folder, _, stem = name.removesuffix(".yaml").partition("/")
    if folder == "data":
        return NAMED.get(stem, "corpus")
    if folder == "releases":
        return "release"
    if folder == "tokenizers":
        return "tokenizer_files"
    if folder == "hardware":
        return "hardware"
    if folder == "scales":
        return "scale_derived" if "extends" in value else "scale"
    if stem == "pipeline":
        return "pipeline_variant" if "extends" in value else "pipeline"
    extends = project.loaded(folder).raw.extends
    known = extends is not None and stem in project.loaded(extends).stages
    return "stage_variant" if known else f"stage_{value['kind']}"


def dump(value: Tree) -> str:
    """YAML with every leaf on a line of its own; what can stand without quotes does: 8Ki, 1e-5, 40%."""
    return "\n".join(_lines(value, ""))


def _lines(value: Tree, indent: str) -> Iterator[str]:
    entries = [(f"{_scalar(key)}:", one) for key, one in value.items()] if isinstance(value, dict) else []
    entries += [("-", one) for one in value] if isinstance(value, list) else []
    for head, one in entries:
        if isinstance(one, (dict, list)) and one:
            yield f"{indent}{head}"
            yield from _lines(one, f"{indent}  ")
        else:
            yield f"{indent}{head} {_scalar(one)}"


def _scalar(value: Tree) -> str:
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    return json.dumps(value)  # which YAML reads as JSON does


def as_an_editor_reads(text: str) -> Any:
    """By YAML 1.2: 0.95 is a number, 8Ki a text."""
    return YAML(typ="safe", pure=True).load(io.StringIO(text))

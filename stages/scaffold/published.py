"""One of the published pipelines as a project's specs: its own files, and of shared ones what it reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.data.spec import TOKENIZER
from stages.scaffold.cut import cut
from stages.spec import nodes
from stages.spec.nodes import Path as Place
from stages.spec.project import Project
from stages.sync import params

SCALES = ("mini", "mini_seed2", "mini_seed3", "small", "paper")
MIXTURES, PUBLISHED = "specs/data/mixtures.yaml", "specs/data/published.yaml"


@dataclass(frozen=True)
class Read:
    """What a pipeline reads: mixtures, the published corpora in them, the local ones in their place, releases."""

    mixtures: frozenset[str]
    published: frozenset[str]
    local: frozenset[str]
    releases: frozenset[str]


def specs(root: Path, pipeline: str) -> dict[str, bytes]:
    """Path in a project -> content of every spec that a published pipeline needs. `root` contains the shipped specs."""
    read = _read(Project.load(root), pipeline)
    verbatim = [path.relative_to(root).as_posix() for path in sorted((root / "specs" / pipeline).glob("*.yaml"))]
    verbatim += [f"specs/data/{name}.yaml" for name in sorted(read.local)]
    verbatim += [f"specs/releases/{name}.yaml" for name in sorted(read.releases)]
    verbatim += [path.relative_to(root).as_posix() for path in sorted((root / "specs/hardware").glob("*.yaml"))]
    found = {path: (root / path).read_bytes() for path in verbatim}
    for path, text in _shared(root, pipeline, read):
        found[path] = text.encode()
    return found


def _read(project: Project, pipeline: str) -> Read:
    raws, data = [one.raw for one in project.loaded(pipeline).stages.values()], project.data
    mixtures = {name for raw in raws for name in raw.mixtures}
    releases = {name for raw in raws for name in params.releases(raw)}
    named = {source.corpus for name in mixtures for source in data.mixtures.mixtures[name].sources}
    published = named & data.published.corpora.keys()
    stand_ins = (data.published.corpora[name].stand_in for name in published)
    local = {name for name in stand_ins if name is not None} | (named - published) | {TOKENIZER}
    if data.tokenizer is not None:
        local |= set(data.tokenizer.corpora)
    return Read(frozenset(mixtures), frozenset(published), frozenset(local), frozenset(releases))


def _shared(root: Path, pipeline: str, read: Read) -> Iterator[tuple[str, str]]:
    """The files that pipelines share, without what is the others'."""
    yield MIXTURES, _only((root / MIXTURES).read_text(encoding="utf-8"), "mixtures", read.mixtures)
    yield PUBLISHED, _only((root / PUBLISHED).read_text(encoding="utf-8"), "corpora", read.published)
    for scale in SCALES:
        path = f"specs/scales/{scale}.yaml"
        yield path, _only((root / path).read_text(encoding="utf-8"), "pipelines", {pipeline})


def _only(text: str, key: str, names: Collection[str]) -> str:
    """A file with these entries of a mapping alone, and without the sources that cover nothing but others."""
    kept = cut(text, (key,), lambda entry: entry[-1] not in names)
    listed = nodes.parse(kept.encode(), key).value.get("sources", [])

    def of_others(entry: Place) -> bool:
        paths = [cover.split(".") for cover in listed[entry[-1]]["covers"]]
        return all(len(path) > 1 and path[0] == key and path[1] not in names for path in paths)

    return cut(kept, ("sources",), of_others)

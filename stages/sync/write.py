"""Writing rules/*.smk and dvc.yaml, and telling whether what lies there is what would be written."""

from __future__ import annotations

import re
from pathlib import Path

from stages.errors import UserError
from stages.spec.project import Project
from stages.store import evaluated_by
from stages.store.files import write_atomic
from stages.sync import dvc, params, rules
from stages.sync.graph import Graph, readable

Texts = dict[str, str | None]  # path relative to the project -> text; None where specs that cannot be read decide it


def wanted(project: Project, graph: Graph) -> Texts:
    """Every generated file."""
    watched = {ref: params.watched(project, ref, graph.scale) for ref in graph.published}
    unknown: Texts = {f"rules/{name}.smk": None for name in graph.unreadable}
    # A project has the digest of the code of evaluations where it does not have that code, as a checkout has.
    here = all((project.root / path).exists() for path in dvc.EVALUATED_BY)
    digest = {} if here else {dvc.DIGEST: f"{evaluated_by.code()}\n"}
    everything = None if graph.unreadable else dvc.text(graph, watched, list(digest) or dvc.EVALUATED_BY)
    return {**rules.files(graph), **_elsewhere(project, graph), **unknown, **digest, "dvc.yaml": everything}


def _elsewhere(project: Project, graph: Graph) -> Texts:
    """The rules of pipelines that are not at this scale, where Snakemake leaves them out: edges are of no scale."""
    firsts = {name: scales[0] for name, scales in graph.absent.items() if scales}
    others = {scale: readable(project.root, project, scale) for scale in dict.fromkeys(firsts.values())}
    return {
        f"rules/{name}.smk": None if name in others[scale].unreadable else rules.pipeline_rules(others[scale], name)
        for name, scale in firsts.items()
    }


def unsynced(root: Path, texts: Texts) -> list[str]:
    """Paths whose content is not the wanted one, and rules of pipelines that are gone; sorted."""
    known = {path: text for path, text in texts.items() if text is not None}
    differing = [path for path, text in known.items() if _read(root / path) != text.encode()]
    return sorted([*differing, *_leftover(root, texts)])


def sync(root: Path, project: Project, scale: str) -> list[str]:
    """Write what differs; returns the paths written or removed. What cannot be known stays as it is."""
    texts = wanted(project, readable(root, project, scale))
    changed = unsynced(root, texts)
    for path in changed:
        text = texts.get(path)
        if text is not None:
            write_atomic(root / path, text.encode())
        else:
            (root / path).unlink()
    return changed


def dvc_scale(root: Path) -> str:
    """The scale that dvc.yaml describes, from its first line; raises UserError when there is none."""
    first = _read(root / "dvc.yaml").decode(errors="replace").split("\n", 1)[0]
    found = re.search(r"--scale ([a-z0-9_]+)", first)
    if not found:
        raise UserError(f"{root / 'dvc.yaml'}:1: not written by `stages sync`. Run `stages sync`.")
    return found.group(1)


def _leftover(root: Path, texts: Texts) -> list[str]:
    """Rules that were written for what is gone: those that begin as this module has them begin, and no others."""
    there = (path for path in (root / "rules").glob("*.smk") if f"rules/{path.name}" not in texts)
    return [f"rules/{path.name}" for path in there if _read(path).startswith(rules.WRITTEN.encode())]


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""

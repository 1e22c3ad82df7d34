"""What `--config` of a call of Snakemake may say: scale, releases, and what is to be read in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.errors import UsageError, UserError
from stages.spec.validate import near
from stages.store.releases import folders as release_folders
from stages.sync import graph

KEYS = ("scale", "releases", "deep")
ALL = "all"
DEFAULT_SCALE = "mini"


def read_config(root: Path, config: Mapping[str, Any]) -> tuple[str, str | None]:
    """Scale and releases' folder from `--config`; raises UsageError for anything else."""
    unknown = sorted(set(config) - set(KEYS))
    if unknown:
        raise UsageError(f"--config: found {', '.join(unknown)}; allowed: {', '.join(KEYS)}.")
    known = scales(root)
    scale = str(config.get("scale", usual(known)))
    if not known:
        raise no_scale(root)
    if scale not in known:
        unsaid = "" if "scale" in config else f"Without it, {scale} is meant: add `--config scale={known[0]}`."
        allowed = f"{', '.join(known)}. {unsaid or near(scale, known)}".rstrip()
        raise UsageError(f"--config scale: found {scale!r}; allowed: {allowed}")
    releases = config.get("releases")
    if releases is None:
        return scale, None
    release_folders(Path(root, str(releases)), "--config releases")
    return scale, str(releases)


def scales(root: Path) -> list[str]:
    """The names of a project's scales, without reading them."""
    return sorted(path.stem for path in (root / "specs" / "scales").glob("*.yaml"))


def usual(known: Sequence[str]) -> str:
    """The scale that is meant where none is named: the only one that there is, else mini."""
    return known[0] if len(known) == 1 else DEFAULT_SCALE


def no_scale(root: Path) -> UserError:
    """The error about a project that has no scale at all."""
    return UserError(f"{root / 'specs/scales'}: no scale is there; allowed: at least one file, such as mini.yaml.")


def read_deep(loaded: graph.Graph, config: Mapping[str, Any]) -> list[str]:
    """The stages and corpora of which every digest is to be read again: all, or those of the rule that is named.

    DVC names the rule that it calls: it has found its spec or its files changed, and records whatever lies there.
    Raises UsageError for a rule that is not there.
    """
    rules = {graph.rule_name(name): name for name in (*loaded.stages, *loaded.corpora)}
    wanted = config.get("deep")
    if wanted not in (None, ALL, *rules):
        raise UsageError(f"--config deep: found {wanted!r}; allowed: {ALL}, {', '.join(rules)}.")
    return [name for rule, name in rules.items() if wanted in (ALL, rule)]

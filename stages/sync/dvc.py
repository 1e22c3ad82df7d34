"""The text of dvc.yaml: the published pipelines at one scale. A DVC stage calls Snakemake for exactly one rule.

Variants are left out, as plain `snakemake` leaves them out: otherwise `dvc status` would never be clean without them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from stages.data.spec import TOKENIZER
from stages.spec.resolved import Stage
from stages.sync.graph import Graph, corpora, rule_name
from stages.sync.params import Watched

# The code of evaluations, as in store.evaluated: when it changes, results are evaluated again. DVC watches it where the
# project has it, else its digest, which `stages sync` writes: what is installed is no file of the project.
EVALUATED_BY = ("stages/evals",)
DIGEST = "rules/evaluated_by.txt"
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the same text, in a tenth of the time
HEAD = "# Written by `stages sync --scale {scale}` from specs/; edit the specs instead.\n"


def text(graph: Graph, watched: Mapping[str, Watched], evaluated_by: Sequence[str] = EVALUATED_BY) -> str:
    """dvc.yaml. `watched` names, for each ref, the spec files and their keys that make the stage.

    `evaluated_by` are the paths by which DVC sees a change of the code of evaluations.
    """
    stages = {rule_name(name): _corpus(graph, name) for name in graph.published_corpora}
    for ref, stage in graph.published.items():
        stages[rule_name(ref)] = _stage(graph, ref, stage, watched[ref], evaluated_by)
    measured = [ref for ref, stage in graph.published.items() if stage.evaluated_on and stage.evaluation.names]
    metrics = [f"results/{graph.scale}/{ref}/eval.json" for ref in measured]
    plots = [_plot(graph.scale, ref, stage) for ref, stage in graph.published.items() if stage.phases]
    body = {"stages": stages, "metrics": metrics, "plots": plots}
    return HEAD.format(scale=graph.scale) + yaml.dump(body, Dumper=_DUMPER, sort_keys=False, width=120)


def _command(graph: Graph, rule: str) -> str:
    # `deep`, in full: DVC calls it because something changed, and records the result.
    config = ["--config", f"scale={graph.scale}", f"deep={rule}"]
    return shlex.join(["snakemake", "--jobs", "1", "--quiet", "all", "--allowed-rules", rule, *config, "--", rule])


def _out(path: str) -> list[dict[str, Any]]:
    return [{path: {"persist": True}}]


def _params(watched: Watched) -> list[Watched]:
    return [{file: keys} for file, keys in watched.items()]


def _corpus(graph: Graph, name: str) -> dict[str, Any]:
    folder = f"results/{graph.scale}/data"
    deps = [] if name == TOKENIZER or name in graph.by_published else [f"{folder}/{TOKENIZER}/manifest.json"]
    stage: dict[str, Any] = {"cmd": _command(graph, rule_name(name))}
    if deps:
        stage["deps"] = deps
    return {**stage, "params": _params({f"specs/data/{name}.yaml": None}), "outs": _out(f"{folder}/{name}")}


def _stage(graph: Graph, ref: str, stage: Stage, watched: Watched, evaluated_by: Sequence[str]) -> dict[str, Any]:
    deps = [f"results/{graph.scale}/{parent}/manifest.json" for parent in stage.needed]
    deps += [f"results/{graph.scale}/data/{name}/manifest.json" for name in corpora(stage, graph)]
    deps += evaluated_by if stage.evaluation.names and stage.kind != "keep" else []
    wrote: dict[str, Any] = {"cmd": _command(graph, rule_name(ref))}
    if deps:
        wrote["deps"] = deps
    return {**wrote, "params": _params(watched), "outs": _out(f"results/{graph.scale}/{ref}")}


def _plot(scale: str, ref: str, stage: Stage) -> dict[str, Any]:
    options = {"x": "tokens", "y": "loss", "title": stage.box}
    return {f"results/{scale}/{ref}/metrics.csv": options}

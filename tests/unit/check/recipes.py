"""Published recipes as specs: published_recipes.yaml, each a pipeline, with what they do not say as most have it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.mutants import unshipped

HERE = Path(__file__).parent
FILES = ("published_recipes.yaml", "published_recipes_2.yaml", "published_recipes_3.yaml")
MODEL = {"norm_eps": "1e-5", "tied": "false", "init_std": "0.02"}
OPTIMIZER = {
    "kind": "adamw",
    "beta1": 0.9,
    "beta2": 0.95,
    "eps": "1e-8",
    "weight_decay": 0.1,
    "decay": "matrices",
    "clip": 1.0,
}
OBJECTIVES = {"text": "next_token", "chats": "sft", "pairs": "preference"}
KINDS = {"text": ("text", "prose"), "chats": ("sft", "instruct"), "pairs": ("preference", "judged")}
CHOSEN = 'sources:\n  - {covers: ["*"], mark: chosen}\n'
SCALE = """
scale: full
engine: torch
engine_class: torch-bf16
device: cuda
threads: 8
seed: 1
corpora: published
releases: stand_in
execution: {nodes: 1, ranks: 8, memory: 500 GB, time_limit: 600 min, checkpoint_every: 100 steps, keep_partials: 2,
            activations: recomputed, determinism: exact}
evaluation: {samples: 8, context: 1Ki}
pipelines: identity
"""

Recipe = Mapping[str, Any]


def recipes() -> dict[str, Recipe]:
    """All, by name: figures as they are written there."""
    found: dict[str, Recipe] = {}
    for file in FILES:
        found |= yaml.load((HERE / file).read_text(), Loader=yaml.BaseLoader)
    return found


def write(folder: Path, name: str, recipe: Recipe) -> Path:
    """A project with this recipe alone, at scale full; returns `folder`."""
    specs = unshipped.write(folder) / "specs"
    for pipeline in specs.iterdir():
        if pipeline.name not in unshipped.SHARED:
            shutil.rmtree(pipeline)
    read = [(f"{one}_{kind}", *KINDS[kind]) for one, stage in recipe["stages"].items() for kind in [_reads(stage)]]
    corpora = "".join(f"  {one}: {{kind: {kind}, citation: none, stand_in: {local}}}\n" for one, kind, local in read)
    mixtures = "".join(f"  {one}: {{sources: [{{corpus: {one}, share: 100%, group: text}}]}}\n" for one, _, _ in read)
    (specs / "data/published.yaml").write_text(f"corpora:\n{corpora}")
    (specs / "data/mixtures.yaml").write_text(f"mixtures:\n{mixtures}{CHOSEN}")
    (specs / name).mkdir()
    (specs / "scales").mkdir()
    (specs / "scales/full.yaml").write_text(SCALE + CHOSEN)
    (specs / name / "pipeline.yaml").write_text("".join(_pipeline(name, recipe)))
    above: tuple[str, Recipe] | None = None
    for one, stage in recipe["stages"].items():
        (specs / name / f"{one}.yaml").write_text("".join(_stage(one, stage, above, recipe.get("base", "500_000"))))
        above = one, stage
    return folder


def _pipeline(name: str, recipe: Recipe) -> Iterator[str]:
    yield f"pipeline: {name}\ntitle: {name}\ncitation: none\nfigure: none\ntokenizer: {recipe['tokenizer']}\n"
    yield f"models:\n  model: {_flow({**MODEL, **recipe['model']})}\n"
    yield f"optimizers:\n  adamw: {_flow({**OPTIMIZER, **recipe.get('optimizer', {})})}\n"
    if any("optimizer" in stage for stage in recipe["stages"].values()):
        yield f"  plain: {_flow(OPTIMIZER)}\n"
    yield "schedules:\n"
    for one, stage in recipe["stages"].items():
        if "rates" in stage:
            yield f"  {stage.get('schedule', one)}:\n" + "".join(
                f"    - {{shape: {rate}}}\n" for rate in stage["rates"]
            )
    yield f"stages: [{', '.join(recipe['stages'])}]\n{CHOSEN}"


def _stage(name: str, stage: Recipe, above: tuple[str, Recipe] | None, base: str) -> Iterator[str]:
    reads, schedule = _reads(stage), stage.get("schedule", name)
    goes_on = above is not None and above[1].get("schedule", above[0]) == schedule
    yield f"stage: {name}\nbox: {name}\nkind: train\nmodules: {{llm: model}}\ntrain: [llm]\nfrozen: []\n"
    if above is None:
        yield "init: {weights: fresh, optimizer: reset, clock: reset, data: restart}\n"
    else:
        state = "optimizer: inherit, clock: continue" if goes_on else "optimizer: reset, clock: reset"
        yield f"init: {{from: {above[0]}, weights: inherit, {state}, data: restart}}\n"
    base, optimizer = stage.get("base", base), stage.get("optimizer", "adamw")
    yield f"schedule: {schedule}\noptimizer: {optimizer}\nrope: {{base: {base}, llama3: none, interpolation: 1}}\n"
    yield f"phases:\n  - name: main\n    objective: {OBJECTIVES[reads]}\n    unit: tokens\n"
    yield f"    budget: {stage['tokens']}\n    context: {stage['context']}\n"
    yield f"    batch: {stage['batch']}\n    micro_batch: 1 seq\n"
    yield f"    epochs: {stage.get('epochs', 1)}\n    document_mask: true\n    data: {name}_{reads}\n"
    yield f"    packing: {'concatenate' if reads == 'text' else 'whole'}\n"
    yield from (f"    {key}: {stage[key]}\n" for key in ("router", "z_loss", "preference") if key in stage)
    yield "".join(f"waivers:\n  - {one}\n" for one in [stage.get("waiver")] if one)
    yield f"evaluate: [{'preferences' if reads == 'pairs' else 'validation_loss'}]\n{CHOSEN}"


def _reads(stage: Recipe) -> str:
    return str(stage.get("reads", "text"))


def _flow(fields: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"

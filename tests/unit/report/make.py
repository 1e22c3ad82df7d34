"""Resolved stages and result folders made by hand: the report floor is tested without specs and without training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stages.spec.families.ouro import OuroModel
from stages.spec.resolved import Evaluation, Execution, Init, Stage
from stages.spec.resolved_models import MoonViTModel
from stages.spec.resolved_phases import BatchStep, Phase
from stages.spec.resolved_training import Piece, Schedule
from stages.store import manifest
from stages.store.layout import Layout

LLM = OuroModel(
    family="ouro", layers=2, hidden=32, ffn=64, heads=2, kv_heads=2, head_dim=16, vocab=64, norm_eps=1e-6, tied=False,
    init_std=0.02, post_norm_gain=1.0,
)  # fmt: skip
VIT = MoonViTModel(
    family="moonvit", layers=2, hidden=32, ffn=64, heads=2, patch=14, channels=3, table=8, rope_base=1e4,
    norm_eps=1e-5, init_std=0.02,
)  # fmt: skip
T, B = 10**12, 10**9


def piece(start: int, end: int, shape: Any, first: float, last: float) -> Piece:
    return Piece(start=start, end=end, shape=shape, first=first, last=last, p0=(0, 1), p1=(1, 1))


def phase(budget: int, clock: int = 0, context: int = 4096, unit: Any = "tokens", name: str = "main") -> Phase:
    return Phase(
        name=name, objective="next_token", unit=unit, budget=budget, clock_start=clock, context=context,
        batch=(BatchStep(after=0, sequences=8),), micro_batch=1, epochs=1, document_mask=True, packing="concatenate",
        sources=(), share=None, loops=None, router=None, coca=None,
    )  # fmt: skip


def stage(
    name: str,
    box: str,
    *,
    kind: Any = "train",
    pipeline: str = "ouro",
    parents: Sequence[str] = (),
    phases: Sequence[Phase] = (),
    pieces: Sequence[Piece] = (),
    clock: Any = "continue",
    model: Any = LLM,
    stand_in: bool = False,
    scale: str = "paper",
    evaluations: tuple[str, ...] = ("validation",),
    old_context: int | None = None,
) -> Stage:
    init = Init(
        weights="fresh" if stand_in or not parents else "inherit", parent=None if stand_in or not parents else
        f"{pipeline}/{parents[0]}", release=None, optimizer="reset", layer_map=None, stand_in=stand_in,
    )  # fmt: skip
    return Stage(
        pipeline=pipeline, name=name, box=box, scale=scale, kind=kind, engine_class="torch-fp32", seed=1,
        parents=tuple(sorted(f"{pipeline}/{parent}" for parent in parents)), modules={"m": model}, init={"m": init},
        trained=("m",) if phases else (), clock=clock, data="continue", tokenizer="0" * 64, rope=None, optimizer=None,
        schedule=Schedule(name="s", pieces=tuple(pieces)) if pieces else None, phases=tuple(phases),
        evaluation=Evaluation(names=evaluations, context=4096, old_context=old_context, samples=8),
        execution=Execution(
            engine="torch", device="cpu", threads=1, ranks=1, nodes=1, memory_mb=1024, time_limit_min=10,
            checkpoint_every=10, keep_partials=1, activations="kept", determinism="exact", parallel=None,
        ),
        max_context=4096,
    )  # fmt: skip


def ouro_like(scale: str = "paper") -> dict[str, Stage]:
    """A pipeline of Ouro's shape: warm-up, stable, a fork into keep and upcycle, stable again, a long-context stage."""
    warm = [piece(0, 16 * B, "linear", 0.0, 3e-4)]
    stable = [*warm, piece(16 * B, 7 * T, "constant", 3e-4, 3e-4)]
    made = [
        stage("warmup", "Warmup", phases=[phase(16 * B)], pieces=warm, scale=scale),
        stage(
            "stable1", "Stable Training", parents=["warmup"], phases=[phase(3 * T, 16 * B)], pieces=stable, scale=scale
        ),
        stage("keep", "Keep 1.4B", kind="keep", parents=["stable1"], scale=scale),
        stage("upcycle", "Upcycle 2.6B", kind="upcycle", parents=["stable1"], scale=scale),
    ]
    for branch, fork in (("a", "keep"), ("b", "upcycle")):
        begin = 16 * B + 3 * T
        anneal = [*warm, piece(16 * B, begin, "constant", 3e-4, 3e-4), piece(begin, begin + T, "cosine", 3e-4, 3e-5)]
        long = [piece(0, 20 * B, "constant", 2e-5, 2e-5)]
        made += [
            stage(f"anneal_{branch}", "CT Annealing", parents=[fork], scale=scale,
                  phases=[phase(T, begin)], pieces=anneal),
            stage(f"long_{branch}", "LongCT", parents=[f"anneal_{branch}"], clock="reset", scale=scale,
                  phases=[phase(10 * B, 0, 65536), phase(10 * B, 10 * B, 131072)], pieces=long),
        ]  # fmt: skip
    return {s.name: s for s in made}


def chain_like(count: int) -> dict[str, Stage]:
    """A pipeline of so many stages, one behind another."""
    names = [f"annealing_round_{number}" for number in range(count)]
    return {
        name: stage(name, name, parents=[above] if above else [], phases=[phase(B)], scale="mini", clock="reset",
                    pieces=[piece(0, B, "cosine", 3e-4, 3e-5)])
        for above, name in zip(["", *names], names, strict=False)
    }  # fmt: skip


def points_like(*at: int) -> dict[str, Stage]:
    """A pipeline of a trunk of 1T with a short decay from each of these points of it, and a stage behind the trunk."""
    held = [piece(0, T, "constant", 3e-4, 3e-4)]
    made = [stage("trunk", "Trunk", phases=[phase(T)], pieces=held, scale="mini")]
    short = [piece(0, T // 4, "linear", 3e-4, 0.0)]
    for number, count in enumerate(at):
        point = stage(f"trunk_at_{number}", "Point", phases=[phase(count)], pieces=held, scale="mini")
        made += [
            point.model_copy(update={"trunk": "ouro/trunk"}),
            stage(f"decay_{number}_b", "Decay", parents=[point.name], phases=[phase(T // 4)], pieces=short,
                  scale="mini", clock="reset"),
        ]  # fmt: skip
    long = [piece(0, T, "cosine", 3e-4, 0.0)]
    made.append(stage("after", "After", parents=["trunk"], phases=[phase(T)], pieces=long, scale="mini", clock="reset"))
    return {one.name: one for one in made}


def kimi_like() -> dict[str, Stage]:
    """A pipeline of Kimi-VL's shape: text beside two vision stages, of which the second needs the LLM; then joint."""
    text = [piece(0, 33 * B, "linear", 0.0, 4.2e-4), piece(33 * B, 52 * T // 10, "cosine", 4.2e-4, 4.2e-5)]
    joint = [*text, piece(52 * T // 10, 66 * T // 10, "constant", 4.2e-5, 4.2e-5)]
    vit = [piece(0, 2 * T, "cosine", 2e-4, 2e-5)]
    align = [piece(0, T // 10, "constant", 1e-4, 1e-4)]
    made = [
        stage("text", "Text Pre-training", pipeline="kimi", phases=[phase(52 * T // 10)], pieces=text),
        stage("vit", "ViT Training", pipeline="kimi", phases=[phase(2 * T, unit="patches")], pieces=vit, model=VIT),
        stage("align", "ViT Training", pipeline="kimi", parents=["vit", "text"], clock="reset", model=VIT,
              phases=[phase(T // 10, unit="patches")], pieces=align),
        stage("joint", "Joint Pre-training", pipeline="kimi", parents=["text", "align"],
              phases=[phase(14 * T // 10, 52 * T // 10)], pieces=joint),
    ]  # fmt: skip
    return {s.name: s for s in made}


def write_result(
    root: Path,
    made: Stage,
    *,
    losses: Sequence[float] = (3.0, 2.5, 2.0, 1.5),
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    read: Sequence[Mapping[str, int]] | None = None,
) -> Path:
    """Write the folder that a finished stage leaves, with invented figures, under root/results/<scale>."""
    layout = Layout(root, made.scale)
    folder = layout.stage(f"{made.pipeline}/{made.name}")
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(made.model_dump_json())
    (folder / "run.json").write_text(json.dumps({"environment": {"id": "0123456789abcdef"}, "read": read}))
    if made.phases:
        rows, budget = [], sum(part.budget for part in made.phases)
        for step, loss in enumerate(losses, 1):
            consumed = budget * step // len(losses)
            clock = made.phases[0].clock_start + consumed
            rows.append({"phase": "main", "step": step, "tokens": consumed, "clock": clock, "lr": 1e-4, "loss": loss,
                         "grad_norm": 1.0, "supervised": 10})  # fmt: skip
        pd.DataFrame(rows).to_csv(folder / "metrics.csv", index=False)
        timing = pd.DataFrame(
            {"phase": "main", "step": range(1, len(losses) + 1), "seconds": 0.5, "tokens_per_second": 2}
        )
        timing.to_csv(folder / "timing.csv", index=False)
    if after is not None:
        (folder / "eval.json").write_text(json.dumps({"before": before or {}, "after": after}))
    parents = {}
    for parent in made.parents:
        record, digest = manifest.read_with_digest(layout.manifest(parent))
        parents[parent] = manifest.Parent(key=record.key, manifest=digest)
    record = manifest.Manifest(
        schema_version=1, stage=f"{made.pipeline}/{made.name}", key=f"{made.seed:x}".rjust(32, "0"), tier="bit-exact",
        stand_in=made.stand_in, parents=parents, points_to=None, counters={},
        shards=manifest.shards(folder, ["metrics.csv"]),
    )  # fmt: skip
    manifest.write(folder, record)
    return folder


def reseeded(made: Stage, scale: str, seed: int) -> Stage:
    return made.model_copy(update={"scale": scale, "seed": seed})

"""What a run is evaluated on, and whether it can be."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.finding import rule, stage_rule
from stages.audit.recipe import Fault, Pipeline, Read, Stage, number


@rule("eval-in-training", "I-18", "It is evaluated on what it is trained on")
def in_training(pipeline: Pipeline) -> Iterator[Fault]:
    """A set that is in both lists, of the run itself or of one that it goes on from."""
    for stage in pipeline.stages:
        tested = _sets(stage.get("eval_data"))
        for run in (stage, *pipeline.ancestors(stage)):
            both = [one for one in tested if one in _sets(run.get("data"))]
            if both:
                by = "training" if run is stage else f"training {run.name}"
                yield stage.fault(
                    "eval_data",
                    f"{', '.join(both[:3])} for {by} and evaluation",
                    "a set that is not trained on",
                    "the loss that is reported is a training loss",
                    unless="the framework takes another part of the set",
                )
                break


def _sets(value: Read) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, tuple) else () if value is None else (str(value),)


@stage_rule("eval-without-data", "I-21", "An evaluation without anything to evaluate on")
def without_data(stage: Stage) -> Iterator[Fault]:
    """LLaMA-Factory evaluates on eval_dataset or on a part of the training data (val_size), Megatron-LM on a part."""
    if stage.framework == "megatron-lm" and _no_part(stage):
        yield stage.fault(
            "split",
            f"--split {stage.get('split')}, and {stage.get('eval_steps')} steps of evaluation",
            "a part of the data for it",
            "nothing is ever evaluated",
            unless="no evaluation is wanted",
        )
    wanted = stage.get("eval_strategy") in {"steps", "epoch"}
    given = "eval_data" in stage.values or (stage.number("held_out") or 0) > 0
    if stage.framework == "llama-factory" and wanted and not given:
        yield stage.fault(
            "eval_strategy",
            f"eval_strategy {stage.get('eval_strategy')}",
            "val_size, or eval_dataset",
            "the launch stops",
        )


def _no_part(stage: Stage) -> bool:
    """Whether a command asks for evaluation on a part of --data-path that is none, by Megatron's own loader."""
    parts = (stage.text("split") or "").split(",")
    none = len(parts) > 1 and number(parts[1]) == 0
    evaluates = stage.stated("eval_every") and (stage.count("eval_steps") or 0) > 1
    own = stage.stated("data") and "eval_data" not in stage.values and stage.get("objective") != "sft"
    return none and evaluates and own and stage.text("loader") != "external"


@stage_rule("best-never", "I-21", "The best checkpoint is asked for, and cannot be known")
def best(stage: Stage) -> Iterator[Fault]:
    """TrainingArguments asserts that checkpoints are evaluated: the same strategy, and a multiple of its steps."""
    if stage.framework not in {"transformers", "llama-factory"} or not stage.on("best"):
        return
    saved, tested = _strategy(stage, "save_strategy", "steps"), _strategy(stage, "eval_strategy", "no")
    every, each = stage.count("save_every"), stage.count("eval_every") or 500
    if saved == "best" or (saved == tested and saved != "steps"):
        return
    if saved != tested or (every is not None and every % each):
        yield Fault(
            stage,
            stage.at("eval_strategy") if saved != tested and stage.stated("eval_strategy") else
            stage.at("best") if saved != tested else stage.at("save_every", "best"),
            f"checkpoints by {saved}, evaluations by {tested}" if saved != tested
            else f"checkpoints every {every:,} steps, evaluations every {each:,}",
            "evaluations of every checkpoint",
            "the launch stops",
        )  # fmt: skip


def _strategy(stage: Stage, name: str, otherwise: str) -> str:
    return stage.text(name) or otherwise


@stage_rule("interval-twice", "I-05", "An interval is stated twice")
def interval(stage: Stage) -> Iterator[Fault]:
    """axolotl has steps or a number for each epoch, and refuses both."""
    for steps, share in (("save_every", "saves_per_epoch"), ("eval_every", "evals_per_epoch")):
        both = stage.framework == "axolotl" and stage.stated(steps) and stage.stated(share)
        if both and stage.get(steps) and stage.get(share):
            yield stage.fault(
                share,
                f"{share} {stage.get(share)}, and every {stage.get(steps)} steps",
                "one of the two",
                "the launch stops",
            )

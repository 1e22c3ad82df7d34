"""From one run to the next: the checkpoint, the step, the scheduler, the optimizer's state."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.figures import first_step, last_step, saved_every
from stages.audit.finding import edge_rule, rule, stage_rule
from stages.audit.frameworks import TRAINERS
from stages.audit.loads import on_load
from stages.audit.recipe import Edge, Fault, Pipeline, Stage
from stages.audit.rules.schedule import part

_SCHEDULE = ("lr", "min_lr", "warmup_steps", "decay_steps", "decay", "weight_decay")
_RELEASED = "the checkpoint was saved again with step 0, or as a release"


@rule("past-the-end", "I-03", "The restored step is at or past the end of the run")
def past_the_end(pipeline: Pipeline) -> Iterator[Fault]:
    """The loop runs while the step is below the end: nothing is trained."""
    for stage in pipeline.stages:
        loads, first, last = on_load(stage), first_step(stage), last_step(stage)
        edge = pipeline.parent(stage)
        if loads is None or not loads.step or first is None or last is None or first < last or first == 0:
            continue
        yield stage.fault(
            ("steps", "samples"),
            f"a run to step {last:,} that goes on from step {first:,} ({loads.when})",
            f"an end past step {first:,}, or a load that does not restore the step",
            f"none of the {last:,} steps is trained",
            part(stage, last),
            f"{_RELEASED}, or the parent was stopped before its end" if edge is not None and edge.latest else _RELEASED,
        )


@edge_rule("step-not-saved", "I-26", "The step that is loaded is none that the parent saves")
def not_saved(edge: Edge) -> Iterator[Fault]:
    """Not a multiple of the parent's interval, and not its end; or past its end."""
    every, last = saved_every(edge.parent), last_step(edge.parent)
    if edge.step is not None and edge.parent.get("save_strategy") == "no":
        yield edge.fault(
            f"step {edge.step:,} of {edge.parent.name}, which saves none ({edge.parent.at('save_strategy')})",
            "the model at its end, or a parent that saves checkpoints",
            "there is no such checkpoint",
        )
        return
    if edge.step is None or last is None:
        return
    if edge.step > last:
        yield edge.fault(
            f"step {edge.step:,} of {edge.parent.name}, which ends at {last:,}",
            f"at most {last:,}",
            "there is no such checkpoint",
        )
    elif every and edge.step != last and edge.step % every:
        yield edge.fault(
            f"step {edge.step:,} of {edge.parent.name}, which saves every {every:,}",
            f"a multiple of {every:,}, or {last:,}",
            "there is no such checkpoint",
            unless="it was saved by hand, or at a signal",
        )


@edge_rule("parent-not-finished", "I-06", "The step that is loaded is not the parent's last")
def not_finished(edge: Edge) -> Iterator[Fault]:
    """What the parent trains after it is trained for nothing, unless the child is the same run with other data."""
    every, last = edge.parent.count("save_every") or 1, last_step(edge.parent)
    if edge.step is None or last is None or not edge.step < last or last - edge.step < every:
        return
    loads = on_load(edge.child)
    if loads is not None and loads.step and last_step(edge.child) == last:
        return
    yield edge.fault(
        f"step {edge.step:,} of {edge.parent.name}, which goes on to {last:,}",
        f"step {last:,}",
        f"{last - edge.step:,} steps of the parent, and its schedule's end, are not used",
        part(edge.parent, last - edge.step),
        "the earlier checkpoint was chosen",
    )


@edge_rule("scheduler-refused", "I-01", "The restored scheduler and the file's do not agree")
def refused(edge: Edge) -> Iterator[Fault]:
    """Megatron asserts that they are equal, unless one of two flags says which counts."""
    loads = on_load(edge.child)
    if loads is None or loads.scheduler != "asserted":
        return
    other = [one for one in _SCHEDULE if differ(edge.parent, edge.child, one)]
    if other:
        differences = ", ".join(f"{one} {edge.parent.get(one)} → {edge.child.get(one)}" for one in other)
        yield edge.child.fault(
            other,
            differences,
            "equal figures, or --override-opt_param-scheduler",
            "the launch stops at an assertion",
            unless=_RELEASED,
        )


@edge_rule("rate-ignored", "I-04", "Figures of the file's schedule are ignored")
def ignored(edge: Edge) -> Iterator[Fault]:
    """The scheduler's state comes from the checkpoint: all of it in Megatron-LM, its peak where torch's LambdaLR is."""
    loads = on_load(edge.child)
    names = {"checkpoint": _SCHEDULE, "peak": ("lr",)}
    known = names.get("" if loads is None else loads.scheduler, ())
    other = [one for one in known if differ(edge.parent, edge.child, one) and edge.child.stated(one)]
    if loads is not None and other:
        yield edge.child.fault(
            other,
            edge.child.said(other) + f" ({loads.when})",
            edge.parent.said(other) + ", the checkpoint's, which count",
            "the run goes on with its parent's",
            edge.child.count("tokens"),
            "the folder has no state of the scheduler" if edge.child.framework in TRAINERS else None,
        )


@stage_rule("flags-contradict", "I-06", "Flags of loading that contradict one another")
def contradict(stage: Stage) -> Iterator[Fault]:
    """Both sources of the scheduler; or a running step with fresh moments."""
    if stage.on("override_scheduler") and stage.on("scheduler_from_checkpoint"):
        yield stage.fault(
            "scheduler_from_checkpoint",
            "the scheduler from the checkpoint and from the file",
            "one of the two",
            "the launch stops at an assertion",
        )
    whole = "recipe" not in stage.values  # of which it is unknown whether it turns finetune on
    if stage.on("no_load_optim") and not stage.on("finetune") and "load" in stage.values and whole:
        yield stage.fault(
            "no_load_optim",
            "the step goes on, the optimizer and its schedule begin again",
            "--finetune, or the optimizer's state",
            "the warm-up is repeated in the middle of a run",
            unless="both are meant",
        )


@edge_rule("state-not-saved", "I-15", "The optimizer's state is inherited and was not saved")
def not_there(edge: Edge) -> Iterator[Fault]:
    """Megatron-LM stops at the missing key; a Trainer goes on with a new optimizer, and says nothing."""
    loads = on_load(edge.child)
    name = next((one for one in ("no_save_optim", "save_only_model") if edge.parent.on(one)), None)
    if edge.parent.on("last_model_only") and edge.step is not None and edge.step == last_step(edge.parent):
        name = "last_model_only"
    if name is None or loads is None or not loads.optimizer:
        return
    stops = edge.child.framework not in TRAINERS
    yield edge.fault(
        f"the optimizer's state of {edge.parent.name}, which saves none ({edge.parent.at(name)})",
        "a parent that saves it, or a load without it",
        "the launch stops" if stops else "the moments begin again at the parent's rate",
    )


def differ(parent: Stage, child: Stage, name: str) -> bool:
    """Whether a figure is known of both, another one, and stated by one of them."""
    old, new = parent.get(name), child.get(name)
    return old is not None and new is not None and old != new and (parent.stated(name) or child.stated(name))

"""Runs of Megatron-LM that count in samples: a batch that grows, and the schedule along it, as specs say them.

The batch and the schedule of specs are read at tokens, and samples are tokens by the length of a row. So a run whose
batch grows is taken as one of steps of one sequence each, with the sizes of its batch kept aside.
"""

from __future__ import annotations

from dataclasses import replace

from stages.audit.figures import first_step, ramp_of
from stages.audit.recipe import Pipeline, Stage, Value

MOST_SIZES = 200  # of a batch that grows: of more, its last size stands alone, and is marked
SIZES = "batch_sizes"  # of such a run: samples, size, samples, size, ...
_COUNTS = {"samples": "steps", "decay_samples": "decay_steps", "warmup_samples": "warmup_steps",
           "wsd_samples": "wsd_steps"}  # fmt: skip


def in_samples(pipeline: Pipeline) -> Pipeline:
    """The pipeline with every run whose batch grows from its beginning counted in samples."""
    made = {one.name: _counted(one) for one in pipeline.stages}
    edges = (replace(one, parent=made[one.parent.name], child=made[one.child.name]) for one in pipeline.edges)
    return replace(pipeline, stages=tuple(made.values()), edges=tuple(edges))


def _counted(stage: Stage) -> Stage:
    sizes, samples = ramp_of(stage), stage.count("samples")
    if sizes is None or samples is None or first_step(stage) != 0 or not 1 <= len(sizes) <= MOST_SIZES:
        return stage
    known = dict(stage.values)
    for figure, steps in _COUNTS.items():
        if figure in known:
            known[steps] = replace(known[figure], value=stage.get(figure))
    share, decay = stage.number("warmup_fraction"), known.get("decay_steps")
    if share is not None and decay is not None and isinstance(decay.value, int):
        known["warmup_steps"] = replace(known["warmup_fraction"], value=int(share * decay.value), derived=True)
    if "decay_samples" not in known:
        known["decay_steps"] = replace(known["samples"], derived=True)
    flat = tuple(figure for after, size in sizes if after < samples for figure in (after, size))
    ramp = known.pop("ramp")
    known[SIZES] = Value(flat, ramp.where, ramp.key, derived=True)
    known["batch"] = Value(1, ramp.where, ramp.key, derived=True)
    return replace(stage, values=known)

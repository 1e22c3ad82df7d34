"""DeepSpeed's file compared with the arguments of the Trainer that names it."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.finding import stage_rule
from stages.audit.readers.deepspeed import PREFIX
from stages.audit.recipe import Fault, Read, Stage

_OTHER = {"peak": "lr"}  # DeepSpeed's name for the same figure
_SWITCHES = frozenset({"fp16", "bf16"})


@stage_rule("deepspeed-differs", "I-05", "DeepSpeed's file and the Trainer's arguments differ")
def differs(stage: Stage) -> Iterator[Fault]:
    """The Trainer compares what is not `auto` and stops; so do figures of DeepSpeed's that contradict one another."""
    for name, value in stage.values.items():
        figure = name.removeprefix(PREFIX)
        mine = _trainers(stage, _OTHER.get(figure, figure)) if name != figure else None
        if mine is None or value.value is None or mine == value.value:
            continue
        shown = stage.values.get(_OTHER.get(figure, figure))
        place = f" ({shown.where})" if shown is not None and shown.stated else ""
        yield Fault(
            stage,
            value.where,
            f"{value.key} {value.value}",
            f"{mine}, the Trainer's{place}, or auto",
            "the launch stops",
        )


def _trainers(stage: Stage, figure: str) -> Read:
    """The Trainer's figure; a precision that it does not name is off, unless it is chosen at the launch."""
    if figure in _SWITCHES and figure not in stage.values:
        return False if stage.framework == "transformers" and not stage.on("partial") else None
    value = stage.get(figure)
    return None if figure in _SWITCHES and not isinstance(value, bool) else value

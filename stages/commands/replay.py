"""`stages replay P/S --steps A..B`: recorded steps computed again and compared; what has no steps is made again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stages.commands.chosen import Chosen, choose
from stages.commands.parents import refuse_damaged
from stages.commands.run import inputs_of
from stages.errors import UsageError, UserError
from stages.forensics.recorded import Recorded, recorded
from stages.printable import first_few, print_json, printable
from stages.spec.resolved import Stage
from stages.store import fingerprint, manifest
from stages.store.run_record import MadeBy
from stages.sync.verdicts import refuse_damaged_corpora
from stages.train.metrics import GRADIENT, ROWS

if TYPE_CHECKING:
    from stages.engines import Inputs
    from stages.forensics.remade import Remade
    from stages.forensics.replay import Replayed

SHOWN = 5  # names of tensors
UNSUMMED = "a run of before there were any, or of GPUs, which has them at every tenth step"
ORDER = frozenset({"step", "tokens", "clock", "lr", "supervised"})
FORWARD = "in the forward pass of that step, or in its weights: those come from the updates before"
BACKWARD = (
    "in the gradients of that step, as its loss is the same; or in its weights, by less than shows in the loss: those "
    "come from the updates before"
)


def print_replay(ref: str, steps: str | None, scale: str, releases: Path | None, as_json: bool) -> int:
    """Replay and print what was found; exit code 1 where something differs. Raises UserError as `inputs`."""
    found = choose(ref, scale)
    if not found.stage.phases:
        if steps is not None:
            raise UsageError(f"--steps: {found.ref} is of kind {found.stage.kind} and has none. Leave --steps out.")
        return print_remade(found, releases, as_json)
    if steps is None:
        raise UsageError(f"--steps: not given; allowed: A..B, A.. or A, of the steps of {found.ref}.")
    return _print_steps(found, steps, releases, as_json)


def _print_steps(chosen: Chosen, steps: str, releases: Path | None, as_json: bool) -> int:
    stage, given, known = inputs(chosen, releases)
    ref = chosen.ref
    first, last = _range(steps, len(known.rows), ref)
    found, repeats = computed(stage, given, known, first, last)
    if as_json:
        print_json(asdict(found) | {"start": str(found.start or ""), "repeats": repeats})
    else:
        for line in lines(ref, known, found, repeats):
            print(printable(line))
    return 0 if found.equal else 1


def computed(stage: Stage, given: Inputs, known: Recorded, first: int, last: int) -> tuple[Replayed, bool]:
    """A replay; where it differs, whether a second one finds the same, so that this machine is not at fault."""
    from stages.forensics.replay import replay

    found = replay(stage, given, known, first, last)
    if found.equal:
        return found, True
    again = replay(stage, given, known, first, last)
    return found, replace(again, start=found.start) == found


def print_remade(chosen: Chosen, releases: Path | None, as_json: bool) -> int:
    """What a stage without steps hands on, made again; exit code 1 where it differs. Raises UserError as `inputs`."""
    parents = parents_of(chosen)
    from stages.forensics.remade import remade

    stage, ref = chosen.stage, chosen.ref
    found = remade(stage, inputs_of(chosen, parents, releases))
    if as_json:
        plain = {"stage": ref, "kind": stage.kind, "folder": str(found.folder), "tensors": found.tensors}
        print_json(plain | {"differing": found.differing, "equal": found.equal})
    else:
        print("\n".join(_remade(ref, stage, found)))
    return 0 if found.equal else 1


def _remade(ref: str, stage: Stage, found: Remade) -> Iterator[str]:
    above = ", ".join(stage.parents) or "its release"
    yield f"{ref}: {stage.kind}, made again from {above}, compared with {found.folder}"
    yield from _other_code(found.makers)
    own = "its counters and what it points to; it has no tensors of its own"
    what = f"{found.tensors:,} tensors" if found.tensors else own
    yield f"  equal, every bit of {what}" if found.equal else f"  differs: {first_few(found.differing, SHOWN)}"


def parents_of(chosen: Chosen) -> dict[str, manifest.Parent]:
    """What a stage is built on, read in full. Raises UserError where it is not in place, or is damaged."""
    try:
        found = manifest.parents(chosen.layout, chosen.parent_keys)
        above = [one for parent in found for one in (parent, *manifest.pointed_to(chosen.layout, parent))]
    except manifest.ManifestError as error:
        raise UserError(f"{chosen.ref}: what its parents left for it is not there: {error}") from error
    for one in above:
        refuse_damaged(chosen.layout, one)
    return found


def training(ref: str, scale: str) -> Chosen:
    """The stage called `ref`. Raises UsageError where there is none, or it computes no steps."""
    found = choose(ref, scale)
    if not found.stage.phases:
        raise UsageError(f"{found.ref}: kind {found.stage.kind}, computes no steps; allowed: a stage with phases.")
    return found


def inputs(found: Chosen, releases: Path | None) -> tuple[Stage, Inputs, Recorded]:
    """All that a stage's recorded steps were computed from, read in full.

    Raises UserError for a stage without a recorded step, where what its parents handed over is not in place any more,
    and where that or a corpus is damaged.
    """
    parents = parents_of(found)
    known = recorded(found.layout, found.ref, found.key, parents)
    refuse_damaged_corpora(found.layout, found.stage)
    return found.stage, inputs_of(found, parents, releases), known


def lines(ref: str, known: Recorded, found: Replayed, repeats: bool) -> Iterator[str]:
    """What a replay found, in words."""
    start = "what its parents handed over" if found.start is None else str(found.start)
    steps = f"steps {found.first:,} to {found.last:,}"
    yield f"{ref}: {steps} of {len(known.rows):,}, computed again from {start}, compared with {known.folder}"
    yield from _other_code(known.makers)
    for changed in known.changed:
        yield f"  note: changed since the run wrote it: {changed}"
    if found.equal:
        sums = (
            f", of the rows, weights, optimizer state and gradients of {found.summed:,} steps" if found.summed else ""
        )
        whole = ", and of the result, weights and optimizer state" if found.tensors is not None else ""
        yield f"  equal, every bit of every recorded number{sums}{whole}: the cause is in the data or the recipe"
        if not found.summed:
            yield f"  note: no checksums are recorded of these steps: {UNSUMMED}"
        return
    if found.sums:
        yield f"  step {found.step:,}: checksums that differ, of {first_few(found.sums, SHOWN)}"
    for cell in found.cells:
        yield f"  step {found.step:,}: {cell.column}: recorded {cell.recorded}, computed now {cell.computed}"
    if found.tensors:
        yield f"  tensors of the result that differ: {first_few(found.tensors, SHOWN)}"
    yield f"  the first that differs: {_component(found)}"
    yield (
        "  computed twice here with the same bits: the machine that recorded them, or its memory or disk, is at fault"
        if repeats
        else "  computed twice here with different bits: this machine does not compute the same twice"
    )


def _other_code(makers: Sequence[MadeBy]) -> Iterator[str]:
    if {maker.code for maker in makers} != {fingerprint.code()}:
        yield "  note: computed by other code then, of which equal bits are not promised"


def _component(found: Replayed) -> str:
    """What differs first in the order of a step: rows, state, forward pass, gradients, their norm."""
    columns = {cell.column for cell in found.cells}
    sums = found.sums or ()
    state = [name for name in sums if name != ROWS and not name.endswith(GRADIENT)]
    gradients = [name for name in sums if name.endswith(GRADIENT)]
    if not columns and not sums:
        return "the result's tensors, after the last step: its update, or what was written"
    if ROWS in sums:
        return "the rows that the step read, before anything is computed from them: a data file, or memory"
    if columns & ORDER:
        return "in the data or the recipe of that step, not in what was computed from them"
    if state:
        return f"{state[0]}, before the update of step {found.step:,}: the update before, or memory since"
    if found.sums is None:
        return FORWARD if columns - {"grad_norm"} else BACKWARD
    if gradients and columns - {"grad_norm"}:
        return "in the forward pass of that step: its rows, weights and optimizer state are the same"
    if gradients:
        last = gradients[-1].removesuffix(GRADIENT)
        return f"in the backward pass of that step, at or after {last}: its rows and weights are the same, and its loss"
    return "in the loss or the norm that was recorded: rows, weights, optimizer state and gradients are the same"


def _range(steps: str, count: int, ref: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?:\.\.(\d*))?", steps)
    first = int(found[1]) if found else 0
    last = first if found is None or found[2] is None else int(found[2] or count)
    if found is None or not 1 <= first <= last <= count:
        raise UsageError(
            f"--steps: found {steps!r}; allowed: A..B, A.. or A, of the {count:,} steps that {ref} has recorded."
        )
    return first, last

"""What a stage without steps hands on, made again from its parents and compared bit by bit. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.engines import Inputs, device, received, results
from stages.errors import UserError
from stages.forensics.recorded import makers
from stages.forensics.replay import differing, refuse, refuse_elsewhere
from stages.models import hf_files
from stages.spec.resolved import Stage
from stages.store import manifest
from stages.store.run_record import MadeBy
from stages.train.determinism import denormals_flushed, deterministic


@dataclass(frozen=True)
class Remade:
    """What is made now, and the result in `folder`: how many tensors, and what differs of them and the counters."""

    folder: Path
    tensors: int
    differing: tuple[str, ...]
    makers: tuple[MadeBy, ...]

    @property
    def equal(self) -> bool:
        """Whether every bit is the same."""
        return not self.differing


def remade(stage: Stage, inputs: Inputs) -> Remade:
    """Make an import, an upcycling, a merge, a pointer or an export again, as the engine does, and compare.

    Raises UserError where it is not finished under its key, where this environment is not the one that made it, or
    promises no equal bits, and where a released folder is not given.
    """
    ref = stage.ref
    folder = inputs.layout.stage(ref)
    if not (folder / manifest.NAME).is_file() or (record := manifest.read(folder / manifest.NAME)).key != inputs.key:
        raise UserError(
            f"{ref}: it is not finished under its key {inputs.key[:12]}. `{inputs.layout.command(ref)}` runs it."
        )
    refuse(stage, record.tier)
    wrong = _counters(inputs, record)
    if stage.kind == "keep":
        return Remade(folder, 0, (*wrong, *_pointer(stage, inputs)), makers(folder))
    with deterministic(stage.execution), denormals_flushed():
        here = device.of(stage)
        refuse_elsewhere(stage, makers(folder), here)
        modules, state = received.handed_on(stage, inputs, here)
        found = differing(modules, (state, state.items()), folder)
    stored = sum(len(hf_files.tensors(manifest.weights(folder, name))) for name in stage.modules)
    return Remade(folder, stored + len(state), (*found, *wrong), makers(folder))


def _counters(inputs: Inputs, record: manifest.Manifest) -> tuple[str, ...]:
    """Counters of the manifest that are not what the parents say."""
    now = results.counted(results.inherited_counters(inputs))
    return tuple(f"counter {name}" for name in sorted(now) if record.counters.get(name) != now[name])


def _pointer(stage: Stage, inputs: Inputs) -> tuple[str, ...]:
    """Where a pointer leads, if that is not to what its parent hands on. Raises ManifestError."""
    (parent,) = stage.parents
    leads = manifest.pointed_to(inputs.layout, stage.ref)[-1:]
    wanted = [parent, *manifest.pointed_to(inputs.layout, parent)][-1:]
    return () if leads == wanted else (f"leads to {', '.join(leads) or 'nothing'}, not to {wanted[0]}",)

"""evaluation.json: what a result was evaluated on, and by which code. No key depends on it.

A result whose record says something else than its spec is evaluated again from its weights.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stages.spec.resolved import LmEval, Stage
from stages.spec.resolved_phases import Phase
from stages.store import evaluated_by, json_file, stage_record
from stages.store.json_file import JsonFileError, MissingFileError, Strict

NAME, RESULT = "evaluation.json", "eval.json"
OUTSIDE = "lm_eval"  # section of eval.json: what lm-evaluation-harness found


class On(Strict):
    """Corpora of an evaluation, each with its digest, and how their documents are read."""

    corpora: dict[str, str]
    document_mask: bool
    loops: int | None


class Asked(Strict):
    """The evaluations by name, the lengths and number of held-out rows, and a digest of the code; "" where unknown.

    `on`: what an import is evaluated on, and what hands it on without training. Of other stages that is in the key,
    theirs or their parents'. `lm_eval`: what is requested of lm-evaluation-harness, which is compared with what it has
    found (store.lm_eval_tasks).
    """

    names: tuple[str, ...]
    context: int
    old_context: int | None
    samples: int
    code: str
    on: On | None = None
    lm_eval: LmEval | None = None

    def plain(self) -> dict[str, Any]:
        """As evaluation.json has it: without `on` and `lm_eval` where there is nothing to say."""
        return self.model_dump(mode="json", exclude={name for name in ("on", "lm_eval") if getattr(self, name) is None})


_ASKED = TypeAdapter(Asked)


def requested(stage: Stage) -> Asked:
    """What the spec requests now."""
    spec = stage.evaluation
    on = spec.on or spec.on_above
    return Asked(
        names=tuple(sorted(spec.names)), context=spec.context, old_context=spec.old_context, samples=spec.samples,
        code=evaluated_by.code(), on=None if on is None else _on(on), lm_eval=spec.lm_eval,
    )  # fmt: skip


def _on(phase: Phase) -> On:
    corpora = {source.corpus: source.digest for source in phase.sources}
    loops = None if phase.loops is None else phase.loops.count
    return On(corpora=corpora, document_mask=phase.document_mask, loops=loops)


def encode(stage: Stage) -> bytes:
    """The bytes of evaluation.json."""
    return json_file.encode(requested(stage).plain())


def records(folder: Path, stage: Stage) -> dict[str, bytes]:
    """What the files of a result say once it is evaluated as its spec requests now, by their names."""
    ran = stage_record.read(folder).model_copy(update={"evaluation": stage.evaluation})
    return {NAME: encode(stage), stage_record.NAME: stage_record.encode(ran)}


def outdated(folder: Path, stage: Stage) -> str:
    """Why a finished result is to be evaluated again; empty if it is not.

    A result of before there were these records is compared by its stage.json, and taken to be of today's code.
    """
    if stage.kind == "keep" or not (stage.evaluation.names and (stage.evaluated_on or stage.parents)):
        return ""
    try:
        then = _then(folder, stage)
    except JsonFileError as error:
        return str(error)
    return "" if then is None else _difference(then, requested(stage))


def lacking(folder: Path, stage: Stage) -> tuple[str, ...]:
    """The evaluations that a finished result has no numbers of as they are requested now: what was added, or all."""
    now = requested(stage)
    try:
        then = _then(folder, stage)
    except JsonFileError:
        return stage.evaluation.names
    had = then is not None and then.model_copy(update={"names": now.names, "lm_eval": now.lm_eval}) == now
    return tuple(name for name in stage.evaluation.names if then is None or not had or name not in then.names)


def _then(folder: Path, stage: Stage) -> Asked | None:
    """What a result was evaluated on, its code as `evaluated_by` calls it; None of a result that does not say it.

    Records of before `on_above` have nothing of it, and are taken to be of what it is now. Raises JsonFileError.
    """
    then = None
    try:
        then = json_file.read_as(folder / NAME, _ASKED)
    except MissingFileError:
        with suppress(JsonFileError):
            then = requested(stage_record.read(folder))
    if then is None:
        return None
    now = requested(stage).on if then.on is None and stage.evaluation.on is None else then.on
    return then.model_copy(update={"code": evaluated_by.called(then.code), "on": now})


def _difference(then: Asked, now: Asked) -> str:
    added, dropped = sorted({*now.names} - {*then.names}), sorted({*then.names} - {*now.names})
    changes = [f"{', '.join(added)} added"] if added else []
    changes += [f"{', '.join(dropped)} dropped"] if dropped else []
    for field in ("samples", "context", "old_context"):
        old, new = getattr(then, field), getattr(now, field)
        changes += [f"{field} {old}, now {new}"] if old != new else []
    changes += ["what it is evaluated on"] if then.on != now.on else []
    changes += ["the code of evaluations changed"] if then.code != now.code else []
    return f"evaluate: {'; '.join(changes)}" if changes else ""

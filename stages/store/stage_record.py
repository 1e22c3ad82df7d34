"""stage.json: the resolved stage that a result was made from."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.store import files, json_file, manifest
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout

NAME = "stage.json"
_STAGE = TypeAdapter(Stage)


def write(folder: Path, stage: Stage) -> None:
    """Write it. Modules keep their order, which is that of construction. Raises WriteError."""
    files.write_atomic(folder / NAME, encode(stage))


def encode(stage: Stage) -> bytes:
    """The bytes of stage.json."""
    return (stage.model_dump_json(indent=2) + "\n").encode()


def read(folder: Path) -> Stage:
    """The stage in a result's folder. Raises JsonFileError, also for one that another version wrote."""
    data = json_file.read_bytes(folder / NAME)
    json_file.parse(data, folder / NAME)
    try:
        return json_file.validate(data, folder / NAME, _STAGE)
    except JsonFileError as error:
        raise JsonFileError(folder / NAME, f"{error.reason} (written by another version of stages?)") from None


def evaluated_on(layout: Layout, stage: Stage) -> tuple[Phase, ...]:
    """The phases on whose corpora a stage is evaluated: its own, or those that its nearest ancestor with some has:
    of an import as its spec says now, of others as they ran with.

    Merges, exports and deeper models may follow one another. Raises UserError where an ancestor has no result.
    """
    if stage.evaluation.on_above is not None:
        return (stage.evaluation.on_above,)
    while not stage.evaluated_on and stage.parents:
        stage = read(manifest.payload(layout, stage.parents[0]))
    return stage.evaluated_on

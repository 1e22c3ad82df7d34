"""What became of the last try to evaluate a finished result again, where it failed: for `stages status`.

The result stays in place and stays whole, so that no attempt at it has a finding. The note counts while the same is
requested by the same code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import TypeAdapter

from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.store import attempts, evaluated, files, json_file
from stages.store.evaluated import Asked
from stages.store.json_file import JsonFileError, Strict
from stages.store.layout import Layout

NAME = "reevaluation.json"  # in results/.runs/<key>


class Failure(Strict):
    """What was requested, why it failed, and whether a rerun of the same spec meets the same end."""

    asked: Asked
    message: str
    repeats: bool


_FAILURE = TypeAdapter(Failure)


@contextmanager
def noted(layout: Layout, key: str, stage: Stage) -> Iterator[None]:
    """Note an error that ends the block, unless it is a request to stop; where none does, remove the note."""
    path = layout.run(key) / NAME
    try:
        yield
    except Exception as error:
        reported = error if isinstance(error, UserError) else UserError(f"{type(error).__name__}: {error}")
        if not reported.resumable:
            found = Failure(asked=evaluated.requested(stage), message=str(reported), repeats=reported.repeats)
            with suppress(files.WriteError):  # what ended it is raised, not this
                json_file.write(path, found.model_dump(mode="json"))
        raise
    with files.failing(path):
        if path.is_file():
            files.disk.unlink(path)


def failure(layout: Layout, key: str, stage: Stage) -> Failure | None:
    """Why the last evaluation of what is requested now failed; None where it did not, or was not tried."""
    with suppress(JsonFileError):
        found = json_file.read_as(layout.run(key) / NAME, _FAILURE)
        if found.asked == evaluated.requested(stage):
            return found.model_copy(update={"message": found.message[: attempts.LONGEST]})
    return None

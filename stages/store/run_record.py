"""run.json: when, where and in what environment a result was made. Read for people: no digest of a result covers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from stages.store import json_file

NAME = "run.json"
_Amount = Annotated[float, Field(ge=0, lt=1e18)]
_Count = Annotated[int, Field(ge=0, lt=10**18)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Environment(_Part):
    """What the bits depend on: `id` of what must agree for equal bits, `code` of the sources. See `fingerprint`."""

    id: str | None = None
    code: str | None = None


class MadeBy(_Part):
    """Digests of the code and of the environment that computed some of the steps, and the environment in words."""

    code: str
    environment: str
    words: str = ""  # earlier versions wrote none

    @property
    def described(self) -> str:
        """The environment, in words where there are some."""
        return self.words or self.environment


class RunRecord(_Part):
    """The fields that are read again; a run writes more. Results of earlier versions lack some."""

    environment: Environment = Environment()
    finished: _Amount | None = None  # seconds since 1970
    peak_memory_mb: _Amount | None = None
    made_by: list[MadeBy] | None = None
    read: list[dict[str, _Count]] | None = None  # tokens (items of pairs) of each corpus, by phase


_RECORD = TypeAdapter(RunRecord)


def read(folder: Path) -> RunRecord:
    """The record in a result's folder. Raises JsonFileError."""
    return json_file.read_as(folder / NAME, _RECORD)

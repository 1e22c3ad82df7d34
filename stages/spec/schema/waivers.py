"""What `waivers:` of a stage's spec, or of pipeline.yaml, may contain."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from stages.spec.fields import Raw, WaiverReason
from stages.spec.resolved import Waiver


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _written(value: object) -> object:
    """Text as it stands in the file: `found: false` is the word."""
    return str(value).lower() if isinstance(value, bool) else value


Places = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str]), Field(min_length=1)]
Word = Annotated[str, BeforeValidator(_written, json_schema_input_type=str | float | bool), Field(min_length=1)]


class RawWaiver(Raw):
    """An invariant that does not hold here: at which places, what is found there, and why it need not hold."""

    id: str
    at: Places
    found: Word
    reason: WaiverReason

    def resolved(self) -> Waiver:
        """The waiver as checks compare it with findings."""
        return Waiver(id=self.id, at=tuple(self.at), found=self.found, reason=self.reason)

"""A number of a spec that is stated, or given by a schedule of pipeline.yaml: `0.1`, or `{schedule: name}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from stages.spec import quantities
from stages.spec.domain import Domain, Written

KEY = "schedule"


@dataclass(frozen=True)
class Named:
    """The schedule that gives a number, and what each of its values has to be."""

    schedule: str
    domain: Domain


class Scheduled(Written):
    """A number as a spec writes it, or the schedule that gives it."""

    def _read(self, text: object) -> Any:
        if not isinstance(text, dict):
            return super()._read(text)
        name = text.get(KEY)
        if set(text) != {KEY} or not isinstance(name, str):
            repair = "Write a number, or {schedule: NAME} of a schedule of pipeline.yaml, and nothing else."
            raise quantities.BadQuantity("a mapping", self.domain.allowed, repair)
        return Named(name, self.domain)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        plain = super().__get_pydantic_json_schema__(schema, handler)
        named = {
            "type": "object", "properties": {KEY: {"type": "string"}}, "required": [KEY], "additionalProperties": False
        }  # fmt: skip
        choices = plain.pop("anyOf", None) or [{key: plain.pop(key) for key in [*plain] if key != "description"}]
        return {**plain, "anyOf": [*choices, named]}

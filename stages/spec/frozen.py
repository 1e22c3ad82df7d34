"""The base of all resolved values, and what of them belongs to a content key.

Fields are *identity* (they change what is computed) unless they are listed in `EXECUTION_FIELDS` or
`DESCRIPTIVE_FIELDS` of their class, which the key leaves out. Those of `LATER_FIELDS` it leaves out while they are
None: they came when there were keys already, which then stay.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of all resolved values: immutable, nothing unknown, nothing converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
    EXECUTION_FIELDS: ClassVar[frozenset[str]] = frozenset()
    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset()
    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset()

    def outside_keys(self) -> frozenset[str]:
        """The fields of this value that no key covers."""
        blank = {name for name in self.LATER_FIELDS if getattr(self, name) is None}
        return self.EXECUTION_FIELDS | self.DESCRIPTIVE_FIELDS | blank

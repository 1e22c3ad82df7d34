"""Mutants of the code itself, for the invariants that neither specs nor a run's own reports decide.

Each invariant has one property, which the real code has; a mutant puts one defect into the code while it is asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants import computed, kept

PROPERTIES: dict[str, Callable[[Path], bool]] = {**computed.PROPERTIES, **kept.PROPERTIES}


def holds(invariant: str) -> bool:
    """Whether the code, as it is now, has the invariant's property."""
    with tempfile.TemporaryDirectory() as folder:
        return PROPERTIES[invariant](Path(folder))


@dataclass(frozen=True)
class CodeMutant:
    """A defect, the module that it is put into, and what puts it there (told the folder that the property works in)."""

    invariant: str
    defect: str
    made_in: str
    change: Callable[[pytest.MonkeyPatch, Path], None]

    def caught(self) -> bool:
        """Whether the property sees the defect. An error other than the property's own verdict is not caught here."""
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            self.change(patch, Path(folder))
            return not PROPERTIES[self.invariant](Path(folder))


MUTANTS = tuple(CodeMutant(*one) for one in (*computed.MUTANTS, *kept.MUTANTS))

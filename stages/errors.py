"""Errors that are the user's to mend. The command prints them without a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.printable import printable


class UserError(Exception):
    """Something in a spec, a data file or a result is wrong; the command prints it and exits with 1."""

    exit_code = 1
    resumable = False  # True where nothing is wrong: what was asked to stop goes on where it stopped
    repeats = False  # True where a rerun of the same spec meets the same end
    step: int | None = None  # of the stage, where the error is one of training

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class UsageError(UserError):
    """The command line is wrong; the command prints it and exits with 2."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Where:
    """A place in a file: path relative to the project, and the line, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class SpecError(UserError):
    """One mistake in a spec file: where it is, what was found, what is allowed, what to do."""

    def __init__(self, where: Where, key: str, found: str, allowed: str, repair: str) -> None:
        self.where, self.key, self.found, self.allowed, self.repair = where, key, found, allowed, repair
        super().__init__(f"{where}: {key}: found {found}; allowed: {allowed}. {repair}")


class SpecErrors(UserError):  # noqa: N818 - several errors
    """Several mistakes found in one reading, in file order."""

    def __init__(self, errors: Sequence[SpecError]) -> None:
        self.errors = sorted(errors, key=lambda error: error.where)
        super().__init__("\n".join(str(error) for error in self.errors))

"""What a check reports: one broken rule at one place, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stages.errors import Where

SPEC = "spec"  # the id of findings about specs that cannot be read or resolved at all
FILES = "files"  # of findings about corpora that were prepared on this machine and are not whole any more


@dataclass(frozen=True)
class Finding:
    """A rule that does not hold.

    `stage` is "pipeline/stage" (or only the pipeline, where the rule is about all of it), `edge` is
    "parent -> child" where a hand-over is at fault. `at` and `found` are what a waiver has to name: every place of the
    stage that is at fault and what is found there, as stages/check/facts.py writes it; without places, no waiver can.
    `waived` is the reason that the spec gives for living with it. `where` is None at run time: what is run is a
    resolved stage, which has no lines. `invariant` is what a refusal of specs that cannot be read or resolved enforces.
    """

    id: str
    scale: str
    stage: str
    edge: str | None
    observed: str
    expected: str
    repair: str
    where: Where | None
    waived: str | None = None
    at: tuple[str, ...] = ()
    found: str = ""
    invariant: str = ""

    @property
    def rule(self) -> str:
        """The invariant that does not hold; the finding's id where it is about none of them."""
        return self.invariant or self.id

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        text = f"{where}{self.id} at {self.edge or self.stage} ({self.scale}): found {self.observed}; "
        return text + f"expected {self.expected}. {self.repair}" + (f" Waived: {self.waived}" if self.waived else "")

    def as_dict(self) -> dict[str, str | int | None]:
        """For `--json`: plain values, file and line apart."""
        return {
            "id": self.id, "scale": self.scale, "stage": self.stage, "edge": self.edge,
            "observed": self.observed, "expected": self.expected, "repair": self.repair,
            "file": self.where.file if self.where else None, "line": self.where.line if self.where else None,
            "waived": self.waived, "at": ", ".join(self.at) or None, "value": self.found or None,
            "invariant": None if self.rule in (SPEC, FILES) else self.rule,
        }  # fmt: skip


def unwaived(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that are not waived."""
    return [finding for finding in findings if finding.waived is None]

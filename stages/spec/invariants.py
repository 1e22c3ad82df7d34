"""The invariant that a refusal enforces where the key alone decides it: what a spec has to say, and what it cannot say.

Other refusals name theirs where they are made. The rules themselves: stages/check, docs/invariants.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from stages.spec.nodes import Path, Tree

# A key that is missing, by the first key of its path: none of these has a default.
STATED: Mapping[str, str] = {
    "init": "I-06", "train": "I-34", "frozen": "I-34", "schedule": "I-34", "optimizer": "I-34", "rope": "I-11",
    "schedules": "I-05", "optimizers": "I-05", "models": "I-05", "phases": "I-05", "stand_in": "I-05",
    "waivers": "S-07",
}  # fmt: skip
# A key of a stage that only other kinds of stages have: theirs is what the lineage has.
HANDED_DOWN: Mapping[str, str] = {"rope": "I-13", "max_context": "I-14"}


def of_missing(path: Path) -> str:
    """The invariant that is held by asking for a key."""
    return STATED.get(str(path[0]), "")


def of_unknown(spec: Tree, path: Path) -> str:
    """The invariant that is held by refusing a key of a spec."""
    of_a_stage = isinstance(spec, dict) and "kind" in spec and len(path) == 1
    return HANDED_DOWN.get(str(path[0]), "") if of_a_stage else ""

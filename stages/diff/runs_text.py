"""The comparison of two runs as text and as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from stages.diff.runs import Column, Runs

EVALUATIONS = "final evaluations"


def text(found: Runs) -> str:
    """A verdict, what is the same, where each column parts, and the final evaluations side by side."""
    a, b = found.folders
    lines = [f"A: {a} ({found.stages[0]})", f"B: {b} ({found.stages[1]})", "", verdict(found), ""]
    for name, same in (
        ("key", found.same_key),
        ("data order", found.same_data),
        ("environment", found.same_environment),
        ("weights", found.same_weights),
    ):
        more = f": {_two(*found.environments)}" if name == "environment" and not same else ""
        lines.append(f"  {name:<12} {'equal' if same else 'different'}{more}")
    lines.append(f"  {'tier':<12} {_two(*found.tiers)}")
    lines.append(f"  {'steps':<12} {_two(*map(str, found.steps))}")
    lines += ["", *(_column(column) for column in found.columns)] if found.columns else []
    return "\n".join([*lines, *_evaluations(found)])


def _evaluations(found: Runs) -> Iterator[str]:
    """Those that differ, side by side; many numbers only say where something was measured, and are equal."""
    differ = {name: pair for name, pair in found.evaluations.items() if pair[0] != pair[1]}
    equal = len(found.evaluations) - len(differ)
    if differ:
        width = max(len(name) for name in (*differ, EVALUATIONS))
        yield from ("", f"  {EVALUATIONS:<{width}}  {'A':>10}  {'B':>10}  {'B - A':>10}")
        yield from (f"  {name:<{width}}  {_sides(*pair)}" for name, pair in differ.items())
        if equal:
            yield f"  and {equal:,} equal"
    elif equal:
        yield from ("", f"  {EVALUATIONS}  all equal")


def verdict(found: Runs) -> str:
    """One sentence: equal, different as may be, or different against the promise."""
    if found.equal:
        return "equal: every step and every weight, to the last bit"
    parted = [column for column in found.columns if column.first is not None]
    first = min((column.first for column in parted if column.first is not None), default=None)
    where = f"from step {first} on ({', '.join(c.name for c in parted if c.first == first)})" if first else "in weights"
    if not parted and found.steps[0] != found.steps[1]:
        where = f"in length only, after step {min(found.steps)}"
    if found.broken:
        return (
            f"BROKEN: same key, same environment, both bit-exact, and yet different {where}. "
            f"`stages status --deep` says whether a file is damaged; otherwise this is a defect: keep both folders."
        )
    why = "the specs differ" if not found.same_key else "the environments differ" if not found.same_environment else (
        "the tier promises no equal bits"
    )  # fmt: skip
    return f"different {where}; {why}"


def as_json(found: Runs) -> dict[str, Any]:
    """Plain values, with the verdict."""
    return asdict(found) | {"equal": found.equal, "promised": found.promised, "broken": found.broken}


def _two(a: str, b: str) -> str:
    return a if a == b else f"{a} (A), {b} (B)"


def _column(column: Column) -> str:
    if column.first is None:
        return f"  {column.name:<12} equal at every step of both"
    return (
        f"  {column.name:<12} first differs at step {column.first}; "
        f"at most {column.largest:.3g} (step {column.largest_step}), "
        f"relative {column.relative:.3g} (step {column.relative_step})"
    )


def _sides(a: float | None, b: float | None) -> str:
    shown = [f"{'none' if value is None else f'{value:.5g}':>10}" for value in (a, b)]
    change = "" if a is None or b is None else f"{b - a:>+10.3g}"
    return "  ".join([*shown, change]).rstrip()

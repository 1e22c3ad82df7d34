"""The campaign's outcomes as Markdown: what is caught, and why the rest is not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.mutants.campaign.rules import judge

Row = dict[str, Any]
VERDICTS = ("caught", "elsewhere", "crash", "missed", "later", "legitimate", "same")
MEANINGS = {
    "caught": "a finding at the line of the slip",
    "elsewhere": "findings, all of them at other lines",
    "crash": "a traceback instead of a finding",
    "missed": "wrong, or without effect, and no finding",
    "later": "no finding; something that reads more than specs refuses it before step 1",
    "legitimate": "no finding, and none is due: another run, right in itself",
    "same": "nothing that is read has changed",
}


def read(path: Path) -> list[Row]:
    """Outcomes with the verdict on silent slips filled in, and its reason."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["reason"] = ""
        if row["verdict"] == "silent":
            row["verdict"], row["reason"] = judge(row["where"], f"{row['file']}:{row['place']}", row["slip"])
    return rows


def share(counts: Mapping[str, int]) -> float:
    """Of the slips that are wrong, how many have a finding."""
    seen = counts["caught"] + counts["elsewhere"]
    return seen / max(1, seen + counts["crash"] + counts["missed"] + counts["later"])


def markdown(now: Sequence[Row], commit: str, all_slips: int) -> str:
    """A chapter of results/records/mutants.md without its title; `all_slips` is how many there are to be tried."""
    return "\n".join([*_summary(now, commit, all_slips), *_by_slip(now), *_reasons(now), *_missed(now), ""])


def _summary(now: Sequence[Row], commit: str, all_slips: int) -> Iterator[str]:
    counts = Counter(row["verdict"] for row in now)
    if len(now) < all_slips:
        yield f"A sample, drawn with a fixed seed: {len(now):,} of {all_slips:,} slips, so many of each kind of key and"
        yield f"slip. `make mutants` tries them all. Commit {commit}."
    else:
        yield f"All slips were tried (`make mutants`), commit {commit}."
    yield ""
    yield "| verdict | what it means | slips |"
    yield "|---|---|---|"
    for verdict in VERDICTS:
        yield f"| {verdict} | {MEANINGS[verdict]} | {counts[verdict]:,} |"
    yield f"| all | | {len(now):,} |"
    yield f"| share caught | | {share(counts):.1%} |"
    yield ""


def _by_slip(now: Sequence[Row]) -> Iterator[str]:
    yield "| slip | " + " | ".join(VERDICTS) + " |"
    yield "|---" * (len(VERDICTS) + 1) + "|"
    for slip in dict.fromkeys(row["slip"] for row in sorted(now, key=lambda row: str(row["slip"]))):
        counts = Counter(row["verdict"] for row in now if row["slip"] == slip)
        yield f"| {slip} | " + " | ".join(f"{counts[verdict]:,}" for verdict in VERDICTS) + " |"
    yield ""


def _reasons(now: Sequence[Row]) -> Iterator[str]:
    """Each rule that is used, how often, and one example."""
    for verdict in ("legitimate", "later", "missed"):
        rows = [row for row in now if row["verdict"] == verdict and row["reason"]]
        if not rows:
            continue
        yield f"### Why {verdict}"
        yield ""
        yield "| slips | reason | for example |"
        yield "|---|---|---|"
        for reason, times in Counter(row["reason"] for row in rows).most_common():
            example = next(row for row in rows if row["reason"] == reason)
            yield f"| {times:,} | {reason} | {_shown(example)} |"
        yield ""


def _missed(now: Sequence[Row]) -> Iterator[str]:
    rows = [row for row in now if row["verdict"] in ("missed", "crash") and not row["reason"]]
    if rows:
        yield "### Missed without a reason"
        yield ""
        yield from (f"- {_shown(row)} {row['detail']}".rstrip() for row in rows)


def _shown(row: Row) -> str:
    change = f"`{row['old']}` → `{row['new']}`" if row["new"] else f"`{row['old']}`"
    return f"{row['file']} {row['place']}: {row['slip']}, {change}"

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
INTRODUCTION = """\
Figures and references of the shipped specs changed as authors slip, one at a time, and `stages check` run on each
(tests/mutants/campaign). What the earlier commit was silent about and is a finding now counts as
missed there. The share caught is that of slips that are wrong: those with a finding, against those and the missed, the
later and the crashed.
"""


def read(path: Path) -> list[Row]:
    """Outcomes with the verdict on silent slips filled in, and its reason."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["reason"] = ""
        if row["verdict"] == "silent":
            row["verdict"], row["reason"] = judge(row["where"], f"{row['file']}:{row['place']}", row["slip"])
    return rows


def as_of_now(before: Sequence[Row], now: Sequence[Row]) -> list[Row]:
    """Outcomes of earlier code: what has a finding now was no legitimate edit then."""
    found = {_edit(row) for row in now if row["verdict"] in ("caught", "elsewhere")}
    silent = ("later", "legitimate", "same")
    return [{**row, "verdict": "missed"} if row["verdict"] in silent and _edit(row) in found else row for row in before]


def _edit(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["file"], row["place"], row["slip"], row["new"]


def share(counts: Mapping[str, int]) -> float:
    """Of the slips that are wrong, how many have a finding."""
    seen = counts["caught"] + counts["elsewhere"]
    return seen / max(1, seen + counts["crash"] + counts["missed"] + counts["later"])


def markdown(now: Sequence[Row], before: Sequence[Row], commits: tuple[str, str], all_slips: int) -> str:
    """The chapter of results/records/mutants.md about the campaign; `all_slips` is how many there are to be tried."""
    return "\n".join([*_summary(now, before, commits, all_slips), *_by_slip(now), *_reasons(now), *_missed(now), ""])


def _summary(now: Sequence[Row], before: Sequence[Row], commits: tuple[str, str], all_slips: int) -> Iterator[str]:
    counts = [Counter(row["verdict"] for row in rows) for rows in (before, now)]
    yield "## Slips"
    yield ""
    yield INTRODUCTION
    if len(now) < all_slips:
        yield f"A sample, drawn with a fixed seed: {len(now):,} of {all_slips:,} slips, so many of each kind of key and"
        yield "slip. `make mutants` tries them all."
    else:
        yield "All slips were tried (`make mutants`)."
    yield ""
    yield f"| verdict | what it means | before ({commits[0]}) | now ({commits[1]}) |"
    yield "|---|---|---|---|"
    for verdict in VERDICTS:
        yield f"| {verdict} | {MEANINGS[verdict]} | {counts[0][verdict]:,} | {counts[1][verdict]:,} |"
    yield f"| all | | {len(before):,} | {len(now):,} |"
    yield f"| share caught | | {share(counts[0]):.1%} | {share(counts[1]):.1%} |"
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

"""Guards after the last step: budgets, rates of every step, what moved, what was read, exits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stages.check.findings import Finding
from stages.contract import ledger, numbers, schedule
from stages.contract.mixture import Mixture
from stages.guards.findings import finding
from stages.guards.report import EndReport, PhaseReads
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase

TOLERANCE = 1e-5  # of sums and entropies in fp32


def budgets(stage: Stage, report: EndReport) -> Iterator[Finding]:
    """I-08, I-09: steps, units and clock are those of the ledger, to the last unit."""
    if not stage.phases:
        return
    steps = sum(map(ledger.count, stage.phases))
    expected = (steps, stage.budget, stage.phases[-1].clock_end, steps)
    found = (report.steps, report.consumed, report.clock, len(report.rows))
    if found != expected:
        id = "I-09" if found[0] == steps else "I-08"
        words = ("steps", "units", "on the clock", "rows of metrics")
        yield finding(
            stage, id, at="phases", observed=", ".join(f"{n:,} {w}" for n, w in zip(found, words, strict=True)),
            expected=", ".join(f"{n:,} {w}" for n, w in zip(expected, words, strict=True)),
            repair="Count by the ledger alone; never by samples times batch.",
        )  # fmt: skip


def rates(stage: Stage, report: EndReport) -> Iterator[Finding]:
    """I-02: the rate of every step that was made is the schedule's at its clock, the clock only went forward, and every
    step ended where the ledger ends it.
    """
    if stage.schedule is None:
        return
    bad = [row for row in report.rows if row.lr != schedule.lr(stage.schedule, row.clock)]
    if bad:
        yield finding(
            stage, "I-02", at="schedule",
            observed=f"{len(bad)} steps, the first at clock {bad[0].clock:,} with {bad[0].lr!r}",
            expected=repr(schedule.lr(stage.schedule, bad[0].clock)), repair="Read the rate at the consumed tokens.",
        )  # fmt: skip
    for row in report.rows:
        phase = next((one for one in stage.phases if row.clock <= one.clock_end), stage.phases[-1])
        expected = numbers.at(stage, phase, row.clock)
        wrong = [name for name, value in expected.items() if row.numbers.get(name) != value]
        if wrong:
            yield finding(
                stage, "I-02", at=wrong[0], observed=f"{wrong[0]} {row.numbers.get(wrong[0])} at clock {row.clock:,}",
                expected=repr(expected[wrong[0]]), repair="Read its schedule at the consumed tokens.",
            )  # fmt: skip
            break
    if any(after.clock <= before.clock for before, after in pairwise(report.rows)):
        yield finding(
            stage, "I-02", at="schedule",
            observed="a clock that goes back or stands still", expected="a clock that goes forward",
            repair="Resume at the checkpoint's counters.",
        )  # fmt: skip
        return
    ends = [phase.clock_start + step.end for phase in stage.phases for step in ledger.steps(phase)]
    pairs = enumerate(zip((row.clock for row in report.rows), ends, strict=False), 1)
    off = next(((step, *pair) for step, pair in pairs if pair[0] != pair[1]), None)
    if off is not None and len(ends) == len(report.rows):  # I-08 otherwise
        yield finding(
            stage, "I-02", at="schedule", observed=f"step {off[0]:,} ends at clock {off[1]:,}",
            expected=f"clock {off[2]:,}, as the ledger counts", repair="Take the clock of each step from the ledger.",
        )  # fmt: skip


def frozen(stage: Stage, report: EndReport) -> Iterator[Finding]:
    """I-34: frozen modules keep every bit, trained ones move."""
    for name, before in report.before.items():
        after, trained = report.after.get(name, {}), name in stage.trained
        moved = [tensor for tensor in before.keys() | after.keys() if before.get(tensor) != after.get(tensor)]
        if stage.phases and trained != bool(moved):
            yield finding(
                stage, "I-34", at=name, observed=f"{len(moved)} of {len(before)} tensors of module {name} changed",
                expected="some, since it is trained" if trained else "none, since it is frozen",
                repair="Give the optimizer exactly the parameters of `trained`.",
            )  # fmt: skip


def nothing_twice(stage: Stage, report: EndReport) -> Iterator[Finding]:
    """I-17, I-18: rows stay in their sources, and nothing is read more often than declared, here or above."""
    for phase, reads in _read(stage, report):
        if reads.outside or reads.foreign:
            yield finding(
                stage, "I-17", at=f"phases.{phase.name}",
                observed=f"phase {phase.name}: {reads.outside} spans outside of every source, "
                f"{reads.foreign} tokens that are not the corpus's", expected="0 and 0",
                repair="Read samples by the contract's order, inside the phase's stretch.",
            )  # fmt: skip
        for corpus, segments in reads.segments.items():
            often = max((times for _, _, times in segments), default=0)
            if often > phase.epochs:
                yield finding(
                    stage, "I-18", at=f"phases.{phase.name}",
                    observed=f"phase {phase.name}: parts of {corpus} read {often} times",
                    expected=f"at most {phase.epochs}, its epochs", repair="Declare epochs, or repair the order.",
                )  # fmt: skip
    yield from _again(stage, report)


def _again(stage: Stage, report: EndReport) -> Iterator[Finding]:
    known = {corpus: list(parts) for corpus, parts in report.lineage.items()}
    for phase, reads in _read(stage, report):
        for corpus, segments in reads.segments.items():
            own = [(start, end) for start, end, _ in segments]
            common = overlap(own, known.get(corpus, []))
            if common:
                yield finding(
                    stage, "I-18", at=f"phases.{phase.name}",
                    observed=f"phase {phase.name}: {common:,} units of {corpus} read before it",
                    expected="stretches that nothing above has read", repair="Continue the data, or declare a restart.",
                )  # fmt: skip
            known[corpus] = known.get(corpus, []) + own


def supervision(stage: Stage, report: EndReport) -> Iterator[Finding]:
    """I-20: as many targets as the prepared corpus has at the places that were read; one BOS per document."""
    if report.reads is None:
        return
    found, expected = sum(row.supervised for row in report.rows), sum(r.supervised_expected for r in report.reads)
    if found != expected:
        yield finding(
            stage, "I-20", at="phases",
            observed=f"{found:,} supervised tokens", expected=f"{expected:,}, counted from the corpora",
            repair="Shift labels once; supervise the first and the last token of every answer.",
        )  # fmt: skip
    for phase, reads in _read(stage, report):
        if reads.bos != reads.begun:
            yield finding(
                stage, "I-20", at=f"phases.{phase.name}",
                observed=f"phase {phase.name}: {reads.bos:,} BOS in {reads.begun:,} documents begun",
                expected="one each", repair="Let either the template or the tokenizer add BOS, not both.",
            )  # fmt: skip


def mixture(stage: Stage, report: EndReport) -> Iterator[Finding]:
    """I-30: in every prefix each source gave what the mixture declares, within nesting depth + 1 rows."""
    for phase, reads in _read(stage, report):
        if phase.objective == "coca":
            continue
        allowed, n = Mixture(phase).depth + 1, np.arange(1, len(reads.picked) + 1)
        picked = np.array(reads.picked, dtype=np.int64)
        for source, entry in enumerate(phase.sources):
            counts, wanted = np.cumsum(picked == source), target(phase, source, n)
            far = np.abs(counts - wanted) > allowed
            if far.any():
                at = int(np.argmax(far))
                yield finding(
                    stage, "I-30", at=f"phases.{phase.name}",
                    observed=f"{phase.name}: {counts[at]} of {at + 1} rows from {entry.corpus}",
                    expected=f"{wanted[at]:.2f}, within {allowed}",
                    repair="Take turns by cumulative counts, without a random draw.",
                )  # fmt: skip
                break


def target(phase: Phase, source: int, n: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many of the first n rows the spec gives to a source: the ramp's integral times its weight in its group."""
    mine = phase.sources[source]
    weight = mine.weight / sum(other.weight for other in phase.sources if other.group == mine.group)
    rows = n.astype(np.float64)
    if phase.share is not None:
        first, last = float(Fraction(*phase.share.first)), float(Fraction(*phase.share.last))
        on = np.minimum(rows, phase.share.over)
        slope = (last - first) / phase.share.over if phase.share.over else 0.0
        multimodal = first * on + slope * on * on / 2 + last * (rows - on)
        rows = multimodal if mine.group == "multimodal" else rows - multimodal
    return rows * weight


def exits(stage: Stage, report: EndReport) -> Iterator[Finding]:
    """I-32: probabilities of leaving sum to 1, their entropy lies in [0, log T]."""
    seen = report.exits
    if seen is None:
        return
    top = math.log(seen.loops) + TOLERANCE
    odd = [total for total in seen.sums if not abs(total - 1) <= TOLERANCE]
    wild = [entropy for entropy in seen.entropies if not -TOLERANCE <= entropy <= top]
    if odd or wild:
        yield finding(
            stage, "I-32", at="phases",
            observed=f"{len(odd)} sums that are not 1, {len(wild)} entropies out of range",
            expected=f"sums of 1 and entropies in [0, log {seen.loops}]",
            repair="Let the last loop take what remains, whatever its gate says.",
        )  # fmt: skip


def overlap(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> int:
    """Units that are in both sets of intervals; each set's own intervals may touch but not overlap one another."""
    total, j, first, second = 0, 0, sorted(left), sorted(right)
    for start, end in first:
        while j < len(second) and second[j][1] <= start:
            j += 1
        k = j
        while k < len(second) and second[k][0] < end:
            total += min(end, second[k][1]) - max(start, second[k][0])
            k += 1
    return total


def _read(stage: Stage, report: EndReport) -> Iterator[tuple[Phase, PhaseReads]]:
    if report.reads is not None:
        yield from zip(stage.phases, report.reads, strict=True)


def union(parts: Mapping[str, list[tuple[int, int]]]) -> dict[str, list[tuple[int, int]]]:
    """Sorted, with touching and overlapping intervals made one."""
    merged: dict[str, list[tuple[int, int]]] = {}
    for corpus, intervals in parts.items():
        out: list[tuple[int, int]] = []
        for start, end in sorted(intervals):
            if out and start <= out[-1][1]:
                out[-1] = (out[-1][0], max(end, out[-1][1]))
            else:
                out.append((start, end))
        merged[corpus] = out
    return merged

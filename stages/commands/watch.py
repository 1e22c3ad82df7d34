"""`stages watch`: the stages that run, as they run. It reads what they leave in their folders, and touches nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stages import terminal
from stages.cluster.slurm import Job, SlurmError
from stages.commands.find_project import named_refs, open_graph
from stages.commands.status import STYLES, WIDTH
from stages.report.number_format import count, loss, rate, seconds
from stages.spec.resolved import Stage
from stages.store import attempts, lease, live, partials, progress
from stages.store.done import Verdict, is_done
from stages.store.layout import Layout
from stages.sync import graph, jobs

EVERY = 2.0  # seconds between two reads of the disk
ASK = 15.0  # seconds between two queries of Slurm
QUIET = 60.0  # seconds without a sign of life after which a run is marked, or five steps, whichever is longer
WIDE = 160  # columns without a terminal
WAITING = 5  # stages that wait and are named
COLUMNS = ("stage", "step", "tokens", "loss", "LR", "per s", "left", "silent", "checkpoint", "where")


@dataclass
class Watch:
    """The stages that are watched, and what has been seen of them."""

    layout: Layout
    stages: Mapping[str, Stage]
    keys: Mapping[str, str]
    seen: dict[str, None] = field(default_factory=dict)  # stages that have run since the watch began
    alive: Sequence[Job] | None = None
    note: str = ""
    _asked: float = float("-inf")

    def look(self) -> dict[str, Verdict]:
        """Verdicts on the stages that run or wait in a queue, and on those that did since the watch began."""
        self._ask()
        running = [ref for ref in self.stages if lease.holder(self.layout.run(self.keys[ref])) is not None]
        wanted = dict.fromkeys([*self.seen, *running, *(self._queued() if self.alive else ())])
        parents = {ref: {parent: self.keys[parent] for parent in self.stages[ref].parents} for ref in wanted}
        found = {ref: is_done(self.layout, ref, self.keys[ref], parents[ref]) for ref in wanted}
        found = found if self.alive is None else jobs.add(self.layout, found, self.alive)
        self.seen |= dict.fromkeys(ref for ref, one in found.items() if one.state == "running")
        return {ref: found[ref] for ref in self.stages if ref in found}

    def waits(self, shown: Collection[str]) -> list[str]:
        """Stages whose result is not there, and what each waits for: of the pipelines in `shown`, the next ones."""
        pipelines = {ref.partition("/")[0] for ref in shown}
        absent = {ref for ref in self.stages if not self.layout.manifest(ref).is_file()}
        lines = []
        for ref in (one for one in self.stages if one in absent and one not in shown):
            parents = [parent for parent in self.stages[ref].parents if parent in absent]
            if ref.partition("/")[0] in pipelines:
                lines.append(f"{ref} waits for {', '.join(parents)}" if parents else f"{ref} was not started")
        return lines

    def _queued(self) -> list[str]:
        rules = {job.rule for job in self.alive or ()}
        return [ref for ref in self.stages if graph.rule_name(ref) in rules]

    def _ask(self) -> None:
        """The jobs of the cluster, if there is one. Where it does not answer, its last answer is kept."""
        if time.monotonic() - self._asked >= ASK:
            self._asked = time.monotonic()
            try:
                self.alive, self.note = jobs.jobs(self.layout.root), ""
            except SlurmError as error:
                used = (self.layout.root / jobs.JOB_LOGS).exists()
                self.note = f"Slurm does not answer: {str(error).splitlines()[0]}" if used else ""


def watch(scale: str, names: Sequence[str]) -> None:
    """Show running stages, all or those named, until Ctrl-C; one table where there is no terminal.

    Raises UsageError for a name of nothing, and what is wrong with the specs of a pipeline that is named.
    """
    layout, _, loaded = open_graph(scale)
    watched = Watch(layout, {ref: loaded.stages[ref] for ref in named_refs(loaded, names)}, loaded.keys)
    console = terminal.console_of(WIDE)
    if not console.is_terminal:
        console.print(screen(watched, scale))
        return
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as shown:
        while True:
            shown.update(screen(watched, scale, console.width), refresh=True)
            time.sleep(EVERY)


def screen(watched: Watch, scale: str, width: int = WIDTH) -> Group:
    """What is shown at one moment; narrow terminals do without the last columns."""
    verdicts = watched.look()
    columns = COLUMNS if width >= WIDTH else COLUMNS[:7] if width >= 76 else ("stage", "step", "loss", "left")
    table = terminal.table(f"running at {scale}")
    for name in columns:
        table.add_column(name, justify="left" if name in ("stage", "where") else "right", no_wrap=name != "where")
    for verdict in verdicts.values():
        cells = _cells(watched.layout, verdict)
        table.add_row(*(cells[name] for name in columns))
    lines: list[Table | Text] = [table] if verdicts else [Text(f"no stage runs at {scale}")]
    waits = watched.waits(verdicts)
    lines += [Text(line, "dim") for line in waits[:WAITING]]
    lines += [Text(f"and {len(waits) - WAITING} more wait", "dim")] if len(waits) > WAITING else []
    return Group(*lines, *([Text(watched.note, "yellow")] if watched.note else []))


def _cells(layout: Layout, verdict: Verdict) -> dict[str, Text | str]:
    """One stage; of those that do not run, their state and why."""
    cells: dict[str, Text | str] = dict.fromkeys(COLUMNS, "")
    cells |= {"stage": verdict.ref, "where": Text(verdict.why, STYLES[verdict.state])}
    if verdict.state != "running":
        return {**cells, "step": Text(verdict.state, STYLES[verdict.state])}
    tried = attempts.folders(layout, verdict.key)[:1]
    far = progress.read(tried[0]) if tried else None
    if far is None:
        return {**cells, "step": Text("starts", STYLES["running"])}
    ended = far.step == far.steps
    silent = max(0.0, time.time() - far.time)
    style = "yellow" if silent > max(QUIET, 5 * far.seconds_per_step) and not ended else ""
    cells |= {
        "step": f"{far.step:,}/{far.steps:,}",
        "left": "finishing" if ended else _left(far.seconds_left - silent),
        "silent": Text(seconds(silent), style),
        "checkpoint": _checkpoint(layout, verdict.key),
    }
    return cells | _measured(tried[0])


def _left(foreseen: float) -> str:
    """Nothing where the steps take longer than the first ones did."""
    return seconds(foreseen) if foreseen > 0 else ""


def _checkpoint(layout: Layout, key: str) -> str:
    """The step of the newest checkpoint, of whatever attempt."""
    steps = [partials.step_of(path) for attempt in attempts.folders(layout, key) for path in partials.listed(attempt)]
    return f"{max(steps):,}" if steps else "none"


def _measured(attempt: Path) -> dict[str, Text | str]:
    """Tokens, loss and LR of the last step, and the speed of the last rows."""
    rows = live.tail(attempt)
    try:
        last = {name: float(rows[-1][name]) for name in ("tokens", "loss", "lr")}
        recent = rows[-50:]
        spent = sum(float(row[live.SECONDS]) for row in recent[1:])
        read = float(recent[-1]["tokens"]) - float(recent[0]["tokens"])
    except (IndexError, KeyError, ValueError):
        return {}
    return {
        "tokens": count(last["tokens"]), "loss": loss(last["loss"]), "LR": rate(last["lr"]),
        "per s": count(read / spent) if spent > 0 else "",
    }  # fmt: skip

"""`stages status`: the verdict on every box, in a table or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from stages.commands.open import open_project
from stages.store.done import Verdict
from stages.store.layout import Layout
from stages.sync import graph
from stages.sync.verdicts import judge

WIDTH = 100  # columns, where there is no terminal to ask
STYLES = {"done": "green", "stale": "yellow", "missing": "dim", "running": "cyan", "failed": "bold red"}


def print_status(scale: str, deep: bool, failed: bool, as_json: bool) -> int:
    """Print all verdicts, or only those of failed stages; exit code 1 when a stage has failed, else 0."""
    root, project = open_project(scale)
    loaded = graph.load(root, project, scale)
    verdicts = judge(Layout(root, scale), loaded.stages, loaded.keys, deep)
    if failed:
        verdicts = {ref: verdict for ref, verdict in verdicts.items() if verdict.state == "failed"}
    if as_json:
        print(json.dumps([_fields(verdict, root) for verdict in verdicts.values()], indent=2))
    else:
        if verdicts:
            _print_table(scale, verdicts, root)
        print(_summary(verdicts, failed))
    return 1 if any(verdict.state == "failed" for verdict in verdicts.values()) else 0


def _summary(verdicts: dict[str, Verdict], failed: bool) -> str:
    """How many stages are in which state, and what to type next."""
    if failed and not verdicts:
        return "no stage has failed"
    states = [verdict.state for verdict in verdicts.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STYLES if state in states)
    idle = failed or set(states) <= {"done", "running"}
    return counts if idle else f"{counts}. `snakemake -n` lists what would run, `snakemake PIPELINE` runs it."


def _fields(verdict: Verdict, root: Path) -> dict[str, str | int | None]:
    return {
        "stage": verdict.ref,
        "key": verdict.key,
        "state": verdict.state,
        "why": verdict.why,
        "step": verdict.step,
        "partial": _short(verdict.partial, root),
        "log": _short(verdict.log, root),
        "command": verdict.command,
    }


def _print_table(scale: str, verdicts: dict[str, Verdict], root: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"stages at {scale}", title_justify="left")
    for name in ("stage", "state", "why", "key"):
        table.add_column(name, overflow="fold", no_wrap=name in ("stage", "state"))
    for verdict in verdicts.values():
        state = "FAILED" if verdict.state == "failed" else verdict.state
        table.add_row(verdict.ref, Text(state, STYLES[verdict.state]), Text(_why(verdict, root)), verdict.key[:8])
    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(table)


def _why(verdict: Verdict, root: Path) -> str:
    if verdict.state != "failed":
        return verdict.why
    lines = [f"step {verdict.step}: {verdict.why}" if verdict.step is not None else verdict.why]
    if verdict.partial:
        lines.append(f"resumes from {_short(verdict.partial, root)}")
    lines += [f"log: {_short(verdict.log, root)}", f"next: {verdict.command}"]
    return "\n".join(lines)


def _short(path: Path | None, root: Path) -> str | None:
    return None if path is None else path.relative_to(root).as_posix()

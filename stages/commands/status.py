"""`stages status`: the verdict on every stage, in a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stages.cluster.slurm import Job, SlurmError
from stages.commands.find_project import named_refs, open_graph
from stages.printable import first_few, print_json, printable
from stages.report.number_format import seconds
from stages.store import fingerprint, other_runs
from stages.store.done import Verdict
from stages.store.layout import Layout
from stages.store.partials import step_of
from stages.sync import graph, jobs, pulled
from stages.sync.config import scales, usual
from stages.sync.verdicts import judge, judge_corpora

ENDED = ("failed", "stopped")  # states of stages whose last run did not finish
WRONG = ("failed", "damaged", "unreadable")  # states that make the exit code 1
WIDTH = 100  # columns, without a terminal
CORPORA = 5  # that a summary names
STYLES = {
    "done": "green",
    "unevaluated": "blue",
    "stale": "yellow",
    "damaged": "bold red",
    "unreadable": "bold red",
    "missing": "dim",
    "pending": "blue",
    "running": "cyan",
    "stopped": "yellow",
    "failed": "bold red",
}


def print_status(scale: str, named: Sequence[str], deep: bool, failed: bool, as_json: bool) -> int:
    """Print the verdicts, all or those that are named, or only those of runs that did not finish.

    The exit code is 1 when a stage has failed, something is damaged or cannot be read, a pipeline's specs too, else 0.

    Raises UsageError for a name that there is not, and what is wrong with the specs of a pipeline that is named.
    """
    layout, _, loaded = open_graph(scale)
    root, (refs, names) = layout.root, _asked(loaded, named)
    alive, note = _jobs(root)  # first: a job that ends before the disk is looked at has left there how it ended
    judged = judge(layout, loaded.stages, loaded.keys, refs if deep else (), tell_refused=True)
    verdicts = {ref: judged[ref] for ref in refs}
    verdicts |= judge_corpora(root, layout, names, names if deep else (), tell_refused=True)
    verdicts = verdicts if alive is None else jobs.add(layout, verdicts, alive)
    shown = {ref: verdict for ref, verdict in verdicts.items() if not failed or verdict.state in ENDED}
    drift = [ref for ref, one in shown.items() if one.done and fingerprint.drifted(layout.results / scale / one.ref)]
    others = list(other_runs.of_other_keys(layout, {ref: loaded.keys[ref] for ref in refs}))
    unreadable = {} if named else loaded.unreadable
    if as_json:
        entries = [{**_fields(one, root), "drift": ref in drift} for ref, one in shown.items()]
        for entry in entries:
            entry["other_runs"] = [str(one) for one in others if one.ref == entry["stage"]]
        entries += [{"stage": name, "state": "unreadable", "why": str(error)} for name, error in unreadable.items()]
        print_json(entries)
    else:
        note += [f"{name}: its specs cannot be read: {error}" for name, error in unreadable.items()]
        if drift:
            note.append(f"{len(drift)} made by other code than stages/ has now, which is no reason to run them again")
        note += [*_unlisted(shown, root), *_left_out(shown, layout), *map(str, others)]
        note += pulled.note(root, layout, shown.values())
        _print(scale, shown, root, failed)
        running = sum(one.state == "running" for one in verdicts.values())
        unprepared = [name for name in names if not verdicts[name].done]
        print("\n".join([*note, _summary(shown, failed, running, unprepared, layout)]))
    wrong = any(one.state in WRONG or one.damaged_checkpoints for one in verdicts.values())
    return 1 if wrong or unreadable else 0


def _unlisted(verdicts: Mapping[str, Verdict], root: Path) -> Iterator[str]:
    """A line for each result in whose folder a deep check found other files."""
    for verdict in verdicts.values():
        if verdict.unlisted:
            names = ", ".join(str(_short(path, root)) for path in verdict.unlisted)
            yield f"{verdict.ref}: nothing lists, and nothing reads: {printable(names)}. Move them away."


def _left_out(verdicts: Mapping[str, Verdict], layout: Layout) -> Iterator[str]:
    """A line for what a prepared corpus leaves out because another one, or an evaluation set, has it."""
    prepared = [one.ref for one in verdicts.values() if one.done and one.ref.startswith("data/")]
    if prepared:
        from stages.commands.left_out import of_prepared  # loads numpy

        yield from of_prepared(prepared, layout.data)


def _asked(loaded: graph.Graph, named: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The stages and corpora to tell of: all, or those that are named with the corpora that they read."""
    refs = named_refs(loaded, named)
    if not named:
        return refs, loaded.corpora
    read = {name for ref in refs for name in graph.corpora(loaded.stages[ref], loaded)}
    return refs, tuple(name for name in loaded.corpora if name in read)


def _jobs(root: Path) -> tuple[list[Job] | None, list[str]]:
    """The jobs that Slurm knows, if there is Slurm. Where it does not answer, a note, and what lies on disk counts."""
    try:
        return jobs.jobs(root), []
    except SlurmError as error:  # Slurm's commands may be installed where they are not used
        used = (root / jobs.JOB_LOGS).exists()
        return None, [f"without the jobs that wait: {str(error).splitlines()[0]}"] if used else []


def _summary(
    verdicts: dict[str, Verdict], failed: bool, running: int, unprepared: Sequence[str], layout: Layout
) -> str:
    """How many stages are in which state, and what to type next; of those that `failed` leaves out, how many run.

    Why a preparation failed is recorded nowhere, so which corpora are not prepared is said where no stage has failed.
    """
    if failed and not verdicts:
        others = [f"{running} running"] if running else []
        others += [f"not prepared: {first_few(unprepared, CORPORA)}"] if unprepared else []
        return "; ".join(["no stage has failed or was stopped", *others])
    states = [verdict.state for verdict in verdicts.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STYLES if state in states)
    idle = failed or set(states) <= {"done", "pending", "running"}
    if idle:
        return counts
    if layout.scale == usual(scales(layout.root)) and (layout.root / "Snakefile").is_file():
        return f"{counts}\n`snakemake -n` lists what would run, `snakemake PIPELINE` runs it."
    return f"{counts}\n`{layout.snakemake('-n')}` lists what would run;\nPIPELINE in the place of -n runs it."


def _fields(verdict: Verdict, root: Path) -> dict[str, object]:
    return {
        "stage": verdict.ref,
        "key": verdict.key,
        "state": verdict.state,
        "why": verdict.why,
        "note": verdict.note,
        "step": verdict.step,
        "steps": verdict.steps,
        "seconds_left": verdict.seconds_left,
        "job": verdict.job,
        "partial": _short(verdict.partial, root),
        "log": _short(verdict.log, root),
        "command": verdict.command,
        "repeats": verdict.repeats,
        "unlisted": [_short(path, root) for path in verdict.unlisted],
    }


def _print(scale: str, verdicts: Mapping[str, Verdict], root: Path, failed: bool) -> None:
    """A table of the stages; below, what is to be known of runs that did not finish."""
    from rich.text import Text

    from stages import terminal

    console = terminal.console_of(WIDTH)
    if not failed:
        table = terminal.table(f"stages at {scale}")
        for name in ("stage", "state", ""):
            table.add_column(name, overflow="fold", no_wrap=bool(name))
        for what, state, words in _rows(verdicts):
            table.add_row(what, Text(state, STYLES[state.lower()]), Text(words.replace(f"{root}/", "")))
        console.print(table)
    for verdict in verdicts.values():
        if verdict.state in ENDED:
            console.print(Text(f"{_shown(verdict.state)} {verdict.ref}", STYLES[verdict.state]), end="")
            console.print(Text("\n".join(_finding(verdict, root))), soft_wrap=True)


def _rows(verdicts: Mapping[str, Verdict]) -> Iterator[tuple[str, str, str]]:
    """(what, state, words): by pipeline, the stages with the same row together; so are corpora."""
    rows: dict[tuple[str, ...], list[Verdict]] = {}
    sizes: dict[str, int] = {}
    for one in verdicts.values():
        group = one.ref.partition("/")[0]
        sizes[group] = sizes.get(group, 0) + 1
        alike = one.state in ("done", "missing")
        rows.setdefault((group, one.state, one.why, one.note) if alike else (group, one.ref), []).append(one)
    for (group, *_), same in rows.items():
        yield _row(group, same, len(same) == sizes[group])


def _row(group: str, same: list[Verdict], whole: bool) -> tuple[str, str, str]:
    first = same[0]
    state = _shown(first.state)
    if len(same) == 1:
        return first.ref, state, _words(first)
    names = f"all {len(same)}" if whole else ", ".join(one.ref.partition("/")[2] for one in same)
    return group, state, ": ".join(filter(None, [names, first.why, first.note]))


def _shown(state: str) -> str:
    return "FAILED" if state == "failed" else state


def _words(verdict: Verdict) -> str:
    if verdict.state in ENDED:
        return "see below" if verdict.partial is None else f"goes on from step {step_of(verdict.partial):,}; see below"
    if verdict.state != "running" or verdict.step is None or verdict.steps is None:
        return verdict.why or verdict.note
    left = "" if verdict.seconds_left is None else f", {seconds(verdict.seconds_left)} left"
    return f"step {verdict.step:,} of {verdict.steps:,}{left}; {verdict.why}"


def _finding(verdict: Verdict, root: Path) -> Iterator[str]:
    at = f" at step {verdict.step:,}" if verdict.step is not None else ""
    why = verdict.why.removeprefix(f"{verdict.ref}: ").replace(f"{root}/", "")
    if verdict.partial:  # the next line says it
        why = why.replace(f", resumable from {_short(verdict.partial, root)}", "")
    yield f"{at}: {why}"
    if verdict.partial:
        yield f"  goes on from {_short(verdict.partial, root)}"
    if verdict.log:
        yield f"  log: {_short(verdict.log, root)}"
    first = "change the spec, since a rerun ends the same way; it is named by: " if verdict.repeats else ""
    yield f"  next: {first}{verdict.command}"


def _short(path: Path | None, root: Path) -> str | None:
    return None if path is None else path.relative_to(root).as_posix()

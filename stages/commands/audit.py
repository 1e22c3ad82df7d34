"""`stages audit PATH...`: what is wrong in a recipe, by its text alone."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from stages.audit import run
from stages.audit.finding import KINDS, Finding
from stages.audit.recipe import Pipeline
from stages.audit.run import many
from stages.printable import markdown_table, print_json
from stages.terminal import Console


def audit(paths: list[Path], as_json: bool, markdown: bool) -> int:
    """Print every finding; exit code 1 if there is one. Raises UserError where nothing can be read."""
    pipeline = run.read(paths)
    found = run.findings(pipeline)
    if as_json:
        print_json(_all(pipeline, found))
    elif markdown:
        titles = ("place", "finding", "found", "expected", "consequence", "sure")
        print(markdown_table(titles, [_cells(one) for one in found]))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for one in found:
            console.print(_shown(one))
        for note in pipeline.notes:
            console.print(Text(f"notice: {note}"))
        console.print(_summary(pipeline, found))
    return 1 if found else 0


def _all(pipeline: Pipeline, found: list[Finding]) -> dict[str, object]:
    stages = [
        {"name": stage.name, "framework": stage.framework, "figures": {
            name: {"value": value.value, "file": value.where.file, "line": value.where.line, "key": value.key,
                   "unknown": value.unknown, "default": value.default, "derived": value.derived}
            for name, value in stage.values.items()}}
        for stage in pipeline.stages
    ]  # fmt: skip
    edges = [{"parent": one.parent.name, "child": one.child.name, "step": one.step} for one in pipeline.edges]
    return {"stages": stages, "edges": edges, "findings": [one.as_dict() for one in found], "notices": pipeline.notes}


def _cells(one: Finding) -> tuple[str, ...]:
    title = f"{one.invariant} {KINDS[one.kind].title}"
    return str(one.where), title, one.found, one.expected, _cost(one), _sure(one)


def _cost(finding: Finding) -> str:
    text = finding.consequence
    text += f"; {finding.tokens:,} tokens" if finding.tokens is not None else ""
    return text + (f", {finding.gpu_hours:,.0f} GPU-hours (H100 at 40%)" if finding.gpu_hours else "")


def _sure(finding: Finding) -> str:
    return "certain from the text" if finding.certain else f"unless {finding.unless}"


def _shown(finding: Finding) -> Text:
    text = Text()
    text.append(f"{finding.where}: ", style="bold")
    text.append(
        f"{finding.invariant} {KINDS[finding.kind].title} [{finding.kind}]\n",
        style="bold red" if finding.certain else "yellow",
    )
    if finding.stage.partition("#")[0].partition(":")[0] != finding.where.file:
        text.append(f"  run          {finding.stage}\n")
    text.append(f"  found        {finding.found}\n  expected     {finding.expected}\n  consequence  {_cost(finding)}\n")
    text.append(f"  sure         {_sure(finding)}\n")
    return text


def _summary(pipeline: Pipeline, found: list[Finding]) -> Text:
    sure = sum(one.certain for one in found)
    counts = [many(len(pipeline.stages), "run"), many(len(pipeline.edges), "hand-over"), many(len(found), "finding")]
    text = f"{counts[0]}, {counts[1]} between them: {counts[2]} ({sure} certain from the text)"
    return Text(text, style="bold red" if found else "bold green")

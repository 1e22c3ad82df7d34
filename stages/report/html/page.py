"""One pipeline's page: everything that it shows, and its HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stages.check.findings import Finding
from stages.plan.pipeline import ClaimPlan
from stages.plan.stage import StagePlan
from stages.printable import printable
from stages.report.columns import Column
from stages.report.gates import Gate
from stages.report.html import curves, evaluations, graph, tables
from stages.report.html.lineage import colour, curve, rows
from stages.report.html.svg import both
from stages.report.html.sweeps import Swept, sweeps
from stages.report.html.tables import Figures
from stages.report.html.views import View
from stages.report.number_format import UNITS, count
from stages.spec.resolved_pipeline import ResolvedPipeline

LOOPS = tuple(f"loss_loop_{number}" for number in range(1, 33))


@dataclass(frozen=True)
class Subject:
    """A pipeline at a scale, and all that is known of it. `published` are the totals of its full size."""

    pipeline: ResolvedPipeline
    seed: int
    views: Sequence[View]
    others: curves.Others = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)
    plans: Mapping[str, StagePlan] = field(default_factory=dict)
    priced_on: str = ""
    published: Sequence[ClaimPlan] = ()
    published_scale: str = ""
    findings: Sequence[Finding] = ()
    gates: Sequence[Gate] = ()
    problems: Sequence[str] = ()
    swept: Sequence[Swept] = ()

    @property
    def file(self) -> str:
        """The page's name in the folder."""
        return f"{self.pipeline.name}.html"

    @property
    def states(self) -> dict[str, int]:
        """How many stages are in which state."""
        return dict(Counter(view.verdict.state for view in self.views))

    @property
    def consumed(self) -> str:
        """What all stages with a result have consumed together."""
        totals: Counter[str] = Counter()
        for view in self.views:
            if view.metrics is not None:
                totals[view.stage.phases[0].unit] += int(view.metrics["consumed"].iloc[-1])
        return " and ".join(f"{count(total)} {UNITS[unit]}" for unit, total in totals.items())


@dataclass(frozen=True)
class Picture:
    """A drawing with its heading and how it is to be read."""

    title: str
    drawing: Markup
    note: Markup


def render(subject: Subject, head: Mapping[str, Any]) -> str:
    """The page's HTML; `head` is what all pages of a folder say: when, where, of which commit."""
    by_ref = {view.ref: view for view in subject.views}
    laid = rows(subject.views)
    return _environment().get_template("pipeline.html.j2").render(
        head=head,
        subject=subject,
        graph=both(lambda wide: graph.draw(subject.views, wide)),
        losses=_losses(subject, laid, by_ref),
        rates=[Picture(_row(name, laid), curves.learning_rate(here, by_ref), Markup()) for name, here in laid.items()],
        stages=tables.stages(subject.views),
        sweeps=sweeps(subject.swept, by_ref),
        evaluations=tables.evaluations(subject.views, subject.figures),
        positions=evaluations.by_position(subject.views),
        needles=evaluations.needles(subject.views),
        loops=evaluations.by_loops(subject.views),
        inner=_inner(laid, by_ref),
        hand_overs=tables.hand_overs(subject.views),
        budgets=tables.budgets(subject.views),
        costs=tables.costs(subject.views, subject.plans),
        environments=environments(subject.views),
        tiers=sorted(Counter(view.manifest.tier for view in subject.views if view.manifest is not None).items()),
        unwaived=[one for one in subject.findings if one.waived is None],
        waived=[one for one in subject.findings if one.waived is not None],
    )  # fmt: skip


def index(subjects: Sequence[Subject], head: Mapping[str, Any]) -> str:
    """The first page: the pipelines, how far each is, and its graph."""
    cards = [(one, both(lambda wide, one=one: graph.draw(one.views, wide, linked=one.file))) for one in subjects]  # type: ignore[misc]
    return _environment().get_template("index.html.j2").render(head=head, cards=cards)


def _row(name: str, laid: Mapping[str, Any]) -> str:
    return {"language": "Language model", "vision": "Vision"}[name] if len(laid) > 1 else ""


def _losses(subject: Subject, laid: Mapping[str, Any], by_ref: Mapping[str, View]) -> list[Picture]:
    found = []
    for name, here in laid.items():
        drawing = curves.loss(here, by_ref, subject.others)
        if drawing is not None:
            found.append(Picture(_row(name, laid), drawing, _legend(here, by_ref, bool(subject.others))))
    return found


def _legend(laid: Sequence[Column], by_ref: Mapping[str, View], seeds: bool) -> Markup:
    """What lines and marks of a row are, next to the marks themselves, in its colour."""
    return Markup(
        _environment().get_template("legend.html.j2").render(
            colour=colour(laid[0]), forked=_second_branch(laid, by_ref, ["loss"]), seeds=seeds,
            phased=any(len(column.stage.phases) > 1 for column in laid),
        )
    )  # fmt: skip


def _second_branch(laid: Sequence[Column], by_ref: Mapping[str, View], names: Sequence[str]) -> str:
    """The stage with which a row's second branch begins, for the legend of a picture of these columns of metrics.csv;
    "" where the picture has no curve of it.
    """
    second = [column for column in laid if column.branch % 2]
    tables = (by_ref[column.stage.ref].metrics for column in second)
    drawn = any(curve(table, name, 1) is not None for table in tables if table is not None for name in names)
    return second[0].stage.name if drawn else ""


def _inner(laid: Mapping[str, Any], by_ref: Mapping[str, View]) -> list[Picture]:
    """What objectives add to the loss: loops and their exit, contrastive and caption loss, preferences, balance
    of experts.
    """
    known = {name for view in by_ref.values() if view.metrics is not None for name in view.metrics.columns}
    loops = [name for name in LOOPS if name in known]
    series = [
        ("Loss of each loop", loops, [f"loop {name.rpartition('_')[2]}" for name in loops]),
        ("Mean loop of the exit", ["exit_loop"], ["exit"]),
        ("Entropy of the exit", ["entropy"], ["entropy"]),
        ("Contrastive and caption loss", ["contrastive", "caption"], ["contrastive", "caption"]),
        ("Temperature of the contrastive loss", ["temperature"], ["temperature"]),
        (
            "Margin and log-ratios of preferences",
            ["margin", "chosen_ratio", "rejected_ratio"],
            ["margin", "log-ratio of the chosen answer", "of the rejected one"],
        ),
        ("Pairs whose margin is above 0", ["accuracy"], ["share"]),
        ("Balance of the experts: auxiliary loss", ["aux_loss"], ["auxiliary loss"]),
        ("Balance of the experts: most loaded over mean", ["overload"], ["overload"]),
    ]
    found = []
    for title, names, labels in series:
        for here in laid.values() if names else ():
            drawing = curves.several(here, by_ref, names, title.lower())
            if drawing is not None:
                several = labels if len(labels) > 1 else ()
                forked = _second_branch(here, by_ref, names)
                shown = _environment().get_template("series.html.j2").render(labels=several, forked=forked)
                found.append(Picture(title, drawing, Markup(shown)))
    return found


def environments(views: Sequence[View]) -> list[tuple[list[View], list[tuple[str, str]]]]:
    """Stages by what they were run with, each a few names and words."""
    groups: dict[tuple[tuple[str, str], ...], list[View]] = {}
    for view in views:
        if view.machine:
            groups.setdefault(tuple(_facts(view.machine)), []).append(view)
    return [(here, list(facts)) for facts, here in groups.items()]


def _facts(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of run.json what says where bits come from; fields that an earlier version did not write are left out."""
    environment = machine.get("environment")
    environment = environment if isinstance(environment, dict) else {}
    devices = machine.get("devices")
    names = [str(one.get("name")) for one in devices if isinstance(one, dict)] if isinstance(devices, list) else []
    facts = {
        "environment": environment.get("id"),
        "code": environment.get("code"),
        "processor": environment.get("cpu_model"),
        "level": environment.get("cpu_level"),
        "device": ", ".join(dict.fromkeys(names)) or None,
        "ranks": machine.get("ranks"),
        "threads": environment.get("threads"),
        "Python": environment.get("python"),
        "torch": environment.get("torch"),
    }
    return [(name, str(value)) for name, value in facts.items() if isinstance(value, str | int)]


def _sources(texts: Sequence[str]) -> str:
    """The paper and the figure that a pipeline is of, behind its name; a spec without them says none."""
    named = ", ".join(printable(text) for text in texts if text != "none")
    return f" · {named}" if named else ""


@cache
def _environment() -> Environment:
    """Everything is escaped that is not a drawing, and control characters are spelled out."""
    made = Environment(
        loader=PackageLoader("stages.report.html"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters["shown"] = lambda text: printable(str(text))
    made.filters["sources"] = _sources
    made.globals["style"] = Markup((resources.files("stages.report.html") / "style.css").read_text(encoding="utf-8"))
    return made

"""What pages of the report are made of, and whether their elements are closed in order."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stages.report.html.page import Subject
from stages.report.html.views import view
from stages.spec.resolved import Stage
from stages.store.done import State, Verdict
from stages.store.layout import Layout

HEAD = {"scale": "mini", "date": "today", "commit": "0" * 12, "version": "1"}
KEY = "1".rjust(32, "0")  # of what write_result writes
NEEDLES = {
    "accuracy": 0.5, "chance": 0.1, "gain": 1.0,
    "grid": [{"depth": 0.0, "length": 256, "accuracy": 1.0, "rows": 2, "gain": 0.0},
             {"depth": 1.0, "length": 256, "accuracy": 0.0, "rows": 2, "gain": 0.0}],
}  # fmt: skip
BUCKETS = [{"from": 0, "to": 128, "loss": 4.0, "tokens": 8}, {"from": 128, "to": 256, "loss": 5.25, "tokens": 8}]


def subject(root: Path, stages: dict[str, Stage], states: dict[str, State] | None = None, **more: object) -> Subject:
    layout = Layout(root, next(iter(stages.values())).scale)
    views = [
        view(layout, number, stage, Verdict(f"{stage.pipeline}/{name}", KEY, (states or {}).get(name, "missing"), ""))
        for number, (name, stage) in enumerate(stages.items(), 1)
    ]
    said = {
        "name": "ouro",
        "title": "Ouro",
        "citation": "a paper",
        "figure": "a figure",
        "extends": None,
        "scale": "mini",
    }
    pipeline: Any = SimpleNamespace(**said | {key: value for key, value in more.items() if key in said})
    rest: dict[str, Any] = {key: value for key, value in more.items() if key not in said}
    return Subject(pipeline=pipeline, seed=1, views=views, **rest)


class Balanced(HTMLParser):
    """Every element that is opened is closed, in order."""

    VOID = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

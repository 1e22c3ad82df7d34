"""Which stages and which results a pipeline's picture shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from stages.report.picture import draw_missing, lineage, live, main, measured
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store.layout import Layout
from tests.unit.report.make import B, ouro_like, phase, piece, stage, write_result


def resolved(stages: dict[str, Stage], own: tuple[str, ...] = (), extends: str | None = None) -> SimpleNamespace:
    refs = {name: one.ref for name, one in stages.items()}
    keys = dict.fromkeys(stages, "1".rjust(32, "0"))
    return SimpleNamespace(title="Ouro", stages=stages, own=own, extends=extends, refs=refs, keys=keys)


def project(**pipelines: SimpleNamespace) -> Project:
    resolve = {"resolve": lambda name, _: pipelines[name], "resolve_all": lambda _: ({}, {})}
    return cast("Project", SimpleNamespace(**resolve))


def test_a_published_pipeline_shows_all_its_stages() -> None:
    stages, keys = lineage(project(ouro=resolved(ouro_like())), "ouro", "mini")
    assert list(stages) == list(keys) == [f"ouro/{name}" for name in ouro_like()]


def test_a_reading_shows_its_own_stages_and_what_they_are_built_on() -> None:
    long = stage(
        "long_a", "LongCT", pipeline="variant", phases=[phase(B)], pieces=[piece(0, B, "constant", 1e-4, 1e-4)]
    )
    long = long.model_copy(update={"parents": ("ouro/stable1",)})
    variant = resolved({**ouro_like(), "long_a": long}, ("long_a",), "ouro")
    shown, keys = lineage(project(ouro=resolved(ouro_like()), variant=variant), "variant", "mini")
    assert list(shown) == ["ouro/warmup", "ouro/stable1", "variant/long_a"]
    assert set(shown) <= set(keys)


def test_a_stale_result_is_not_marked(tmp_path: Path) -> None:
    stages = {f"ouro/{name}": made for name, made in ouro_like("mini").items()}
    write_result(tmp_path, stages["ouro/warmup"])
    layout = Layout(tmp_path, "mini")
    wanted = dict.fromkeys(stages, "1".rjust(32, "0"))
    assert list(measured(layout, stages, wanted)) == ["ouro/warmup"]
    assert measured(layout, stages, dict.fromkeys(stages, "f" * 32)) == {}


def test_the_live_picture_lies_beside_the_pipeline_s_results(tmp_path: Path) -> None:
    assert live(Layout(tmp_path, "mini"), "ouro") == tmp_path / "results" / "mini" / "ouro.png"


def test_what_finished_stages_lack_is_drawn_and_what_is_there_is_not(tmp_path: Path) -> None:
    stages, layout = ouro_like("mini"), Layout(tmp_path, "mini")
    folder = write_result(tmp_path, stages["warmup"])
    specs = project(ouro=resolved(stages))
    assert draw_missing(specs, layout) == [folder / "plots", live(layout, "ouro")]
    assert draw_missing(specs, layout) == []
    live(layout, "ouro").unlink()
    assert draw_missing(specs, layout) == [live(layout, "ouro")]
    (folder / "plots/lr.png").unlink()
    assert draw_missing(specs, layout) == [folder / "plots", live(layout, "ouro")]


def test_the_command_line_needs_three_words() -> None:
    assert main(["ouro"]) == 2

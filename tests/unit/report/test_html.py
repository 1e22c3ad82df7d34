"""The report: pages from whatever lies on disk; what cannot be read costs a line, and names are never markup."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from stages.report.html.lineage import smoothed
from stages.report.html.page import render
from stages.report.html.tables import hand_overs
from stages.report.html.views import View, view
from stages.store import live
from stages.store.done import Verdict
from stages.store.layout import Layout
from tests.edits import edit
from tests.unit.report.make import kimi_like, ouro_like, write_result
from tests.unit.report.pages import BUCKETS, HEAD, KEY, NEEDLES, Balanced, subject


def test_a_pipeline_without_any_result_has_a_page_with_its_graph_and_its_learning_rate(tmp_path: Path) -> None:
    page = render(subject(tmp_path, ouro_like("mini")), HEAD)
    Balanced(page)
    assert 'id="graph"' in page
    assert "its state, then its budget and its context" in page
    assert 'id="rate"' in page
    assert 'id="loss"' not in page
    assert "No stage has a result yet" in page


def test_the_loss_of_every_stage_is_drawn_in_one_picture_with_evaluations_at_both_ends(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    for name in ("warmup", "stable1"):
        evaluated = {"validation": {"loss": 3.25}}
        write_result(tmp_path, stages[name], before={"validation": {"loss": 7.5}}, after=evaluated)
    page = render(subject(tmp_path, stages, {"warmup": "done", "stable1": "unevaluated"}), HEAD)
    loss = page[page.index('id="loss"') : page.index('id="rate"')]
    assert "ouro/warmup: mean loss 3.000 → 1.500" in loss
    assert "ouro/stable1: mean loss" in loss
    assert "ouro/stable1: held-out loss before the stage 7.500" in loss
    assert "ouro/warmup: held-out loss after the stage 3.250" in loss


def test_a_damaged_table_costs_a_line_and_hides_nothing_else(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    for name in ("warmup", "stable1"):
        write_result(tmp_path, stages[name], after={"validation": {"loss": 3.25}})
    table = Layout(tmp_path, "mini").stage("ouro/warmup") / "metrics.csv"
    edit(table, "3.0", "nan")
    made = subject(tmp_path, stages, {"warmup": "done", "stable1": "done"})
    page = render(made, HEAD)
    assert "line 2: loss is nan" in page
    assert "ouro/stable1: mean loss" in page
    assert "ouro/warmup: mean loss" not in page
    assert "ouro/warmup: held-out loss after the stage 3.250" in page


@pytest.mark.parametrize("name", ["manifest.json", "stage.json", "run.json", "eval.json", "timing.csv", "metrics.csv"])
@pytest.mark.parametrize("text", ["", "{}", "[1", '{"before": 3, "after": [], "environment": 1, "devices": {"a": 1}}'])
def test_no_file_of_a_result_can_keep_the_page_from_being_written(tmp_path: Path, name: str, text: str) -> None:
    stages = ouro_like("mini")
    write_result(tmp_path, stages["warmup"], after={"validation": {"loss": 3.25}})
    (Layout(tmp_path, "mini").stage("ouro/warmup") / name).write_text(text)
    Balanced(render(subject(tmp_path, stages, {"warmup": "done"}), HEAD))


def test_a_log_of_somebody_else_costs_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, layout, ready = ouro_like("mini"), Layout(tmp_path, "mini"), os.open
    write_result(tmp_path, stages["warmup"], after={"validation": {"loss": 3.25}})
    made = subject(tmp_path, stages, {"warmup": "done"}).views[0].verdict
    layout.log(made.key).parent.mkdir(parents=True, exist_ok=True)
    layout.log(made.key).touch()

    def refused(path: Path, *flags: int) -> int:
        if path == layout.log(made.key):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return ready(path, *flags)

    monkeypatch.setattr(os, "open", refused)
    found = view(layout, 1, stages["warmup"], made)
    assert any("log.txt: refused (Permission denied)" in one for one in found.problems)
    assert found.log is None
    assert found.metrics is not None


def test_margins_and_log_ratios_of_preferences_are_drawn(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    folder = write_result(tmp_path, stages["warmup"])
    table = folder / "metrics.csv"
    metrics = pd.read_csv(table).assign(margin=0.5, accuracy=0.75, chosen_ratio=0.25, rejected_ratio=-0.25)
    metrics.to_csv(table, index=False)
    page = render(subject(tmp_path, stages, {"warmup": "done"}), HEAD)
    Balanced(page)
    for title in ("Margin and log-ratios of preferences", "Pairs whose margin is above 0"):
        assert f">{title}<" in page
    assert "log-ratio of the chosen answer" in page
    assert 'href="#objective"' in page


def test_the_second_branch_is_named_beside_every_picture_that_draws_it(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    table = write_result(tmp_path, stages["warmup"]) / "metrics.csv"
    pd.read_csv(table).assign(exit_loop=2.5, entropy=0.5).to_csv(table, index=False)
    assert "second branch" not in render(subject(tmp_path, stages, {"warmup": "done"}), HEAD), "none of it has run"
    for name in ("stable1", "upcycle"):
        write_result(tmp_path, stages[name])
    table = write_result(tmp_path, stages["anneal_b"]) / "metrics.csv"
    pd.read_csv(table).assign(exit_loop=2.5).to_csv(table, index=False)
    page = render(subject(tmp_path, stages, {"warmup": "done", "anneal_b": "done"}), HEAD)
    assert page.count("second branch: anneal_b and after it") == 2, "of the loss and of the exit, not of the entropy"


def test_a_pipeline_without_a_paper_or_a_figure_names_none(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    assert "seed 1 · a paper, a figure" in render(subject(tmp_path, stages), HEAD)
    assert "seed 1 · a paper</p>" in render(subject(tmp_path, stages, figure="none"), HEAD)
    assert "seed 1</p>" in render(subject(tmp_path, stages, citation="none", figure="none"), HEAD)


def test_a_result_of_another_revision_is_named_and_none_of_its_figures_shown(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    other = stages["warmup"].model_copy(update={"seed": 2})  # its key is another one
    write_result(tmp_path, other, after={"validation": {"loss": 3.25}})
    page = render(subject(tmp_path, stages, {"warmup": "stale"}), HEAD)
    assert "another revision&#39;s (key 00000000, wanted 00000000)" in page
    assert "3.250" not in page


def test_needles_and_positions_have_a_picture_each(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    after = {"needle": NEEDLES, "positions": {"buckets": BUCKETS, "beyond": 5.0}}
    write_result(tmp_path, stages["warmup"], before={"positions": {"buckets": BUCKETS}}, after=after)
    page = render(subject(tmp_path, stages, {"warmup": "done"}), HEAD)
    assert '<td class="h10">100%' in page
    assert "4 needles" in page
    assert "after: positions 128 to 256, loss 5.250" in page
    assert "before: positions 0 to 128, loss 4.000" in page


def test_vision_stages_have_a_picture_of_their_own_in_their_own_unit(tmp_path: Path) -> None:
    stages = {name: stage.model_copy(update={"scale": "mini"}) for name, stage in kimi_like().items()}
    for name in ("text", "vit"):
        write_result(tmp_path, stages[name])
    page = render(subject(tmp_path, stages, {"text": "done", "vit": "done"}), HEAD)
    assert "image patches consumed over the lineage" in page
    assert "<h3>Vision</h3>" in page


def test_a_hand_over_says_fresh_of_a_new_module_beside_parents_and_all_parents_of_a_merge(tmp_path: Path) -> None:
    stages = {name: stage.model_copy(update={"scale": "mini"}) for name, stage in kimi_like().items()}
    two = stages["joint"]
    fresh = two.init["m"].model_copy(update={"weights": "fresh", "parent": None})
    merged = fresh.model_copy(update={"weights": "merge"})
    stages["joint"] = two.model_copy(update={"init": {"new": fresh, "sum": merged}})
    rows = hand_overs(subject(tmp_path, stages).views).rows
    found = {row[1]: row[2] for _, row in rows if row[0] == "joint"}
    names = ", ".join(parent.partition("/")[2] for parent in two.parents)
    assert len(two.parents) > 1
    assert found == {"new": "fresh", "sum": f"{names}, merged"}


def test_other_seeds_are_drawn_beside_and_their_spread_is_in_the_table(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    for seed, loss in ((1, 3.0), (2, 3.5)):
        write_result(tmp_path / str(seed), stages["warmup"], after={"validation": {"loss": loss}})
    other = view(Layout(tmp_path / "2", "mini"), 1, stages["warmup"], Verdict("ouro/warmup", KEY, "done", ""))
    assert other.metrics is not None
    made = subject(
        tmp_path / "1", stages, {"warmup": "done"}, others={"mini_seed2": {"ouro/warmup": other.metrics}},
        figures={"mini_seed2": {"ouro/warmup": (other.figures("before"), other.figures("after"))}},
    )  # fmt: skip
    page = render(made, HEAD)
    assert page.count('class="seed c0"') == 3  # wide, narrow, and the legend
    assert "3.000 to 3.500, mean 3.250 (2 seeds)" in page


def test_names_and_messages_are_texts_and_never_markup(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    stages["warmup"] = stages["warmup"].model_copy(update={"box": "<script>alert(1)</script>"})
    write_result(tmp_path, stages["warmup"])
    machine = {"environment": {"id": "x", "cpu_model": "<img src=x onerror=alert(2)>\x1b[2J"}}
    (Layout(tmp_path, "mini").stage("ouro/warmup") / "run.json").write_text(json.dumps(machine))
    made = subject(tmp_path, stages, {"warmup": "done"}, title='"><script>', problems=["<b>\x07"])
    page = render(made, HEAD)
    found = Balanced(page)
    assert not {"script", "img", "b"} & set(found.seen)
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)


def test_views_number_stages_in_the_pipelines_order(tmp_path: Path) -> None:
    views: list[View] = list(subject(tmp_path, ouro_like("mini")).views)
    assert [one.number for one in views] == list(range(1, len(views) + 1))
    assert views[0].anchor == "ouro-warmup"


def test_the_steps_of_a_stage_that_did_not_finish_are_drawn(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    attempt = Layout(tmp_path, "mini").run(KEY) / "attempt-0001"
    attempt.mkdir(parents=True)
    rows = live.Rows(attempt)
    for step in range(1, 41):
        clock = step * 10**8
        row: live.Row = {"phase": "main", "step": step, "tokens": clock, "clock": clock, "lr": 1e-4,
                         "loss": 4 - step / 50, "grad_norm": 1.0, "supervised": 8}  # fmt: skip
        rows.add(tuple(row), row, 0.5)
    rows.flush()
    page = render(subject(tmp_path, {"warmup": stages["warmup"]}, {"warmup": "failed"}), HEAD)
    Balanced(page)
    assert "ouro/warmup: mean loss 3.965 → 3.215" in page


def test_a_loss_that_alternates_has_a_level_mean() -> None:
    alternating = [4.0, 2.0] * 54
    inner = smoothed(alternating)[20:-20]
    assert max(inner) - min(inner) < 0.03
    assert smoothed([3.0, 3.0, 3.0]) == [3.0, 3.0, 3.0]


def test_a_legend_has_the_colour_of_its_row_and_names_the_line_between_phases(tmp_path: Path) -> None:
    stages = kimi_like()
    for stage in stages.values():
        write_result(tmp_path, stage)
    page = render(subject(tmp_path, stages, dict.fromkeys(stages, "done")), HEAD)
    language, vision = re.findall(r'<ul class="legend">.*?</ul>', page, re.DOTALL)[:2]
    assert ("mean c0" in language, "mean c2" in language) == (True, False)
    assert ("mean c2" in vision, "mean c0" in vision) == (True, False)
    phased = any(len(stage.phases) > 1 for stage in stages.values())
    assert ("next phase of a stage" in page) == phased


def test_each_module_has_the_rate_of_its_own_parent(tmp_path: Path) -> None:
    stages = kimi_like()
    joint = stages["joint"]
    stages["joint"] = joint.model_copy(update={"init": {
        "llm": joint.init["m"].model_copy(update={"parent": "kimi/text"}),
        "vit": joint.init["m"].model_copy(update={"parent": "kimi/align"}),
        "new": joint.init["m"].model_copy(update={"parent": None, "weights": "fresh", "optimizer": "reset"}),
    }})  # fmt: skip
    rows = hand_overs(subject(tmp_path, stages).views).rows
    found = {row[1]: row[-1] for _, row in rows if row[0] == "joint"}
    assert found == {"llm": "4.2e-5 → 4.2e-5", "vit": "1e-4 → 4.2e-5", "new": "begins at 4.2e-5"}

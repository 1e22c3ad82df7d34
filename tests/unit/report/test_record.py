"""Records over seeds: figures come from files, what got worse is reported, the README's table is replaced whole."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.errors import UserError
from stages.report import record
from stages.report.collect import finished
from stages.report.commit import commit
from stages.report.record import BEGIN, END, between, in_order_of_specs, lineage_of, main, write
from stages.report.record_text import short
from stages.store.layout import Layout
from tests.unit.report.make import ouro_like, reseeded, write_result

SCALES = ("mini", "mini_seed2", "mini_seed3")
README = f"# Title\n\n{BEGIN}\nold figures\n{END}\n\nafter\n"


def run(root: Path, scales: tuple[str, ...] = SCALES) -> None:
    (root / "README.md").write_text(README)
    for seed, scale in enumerate(scales, 1):
        for made in ouro_like(scale).values():
            after = {"validation": {"loss": 3.0 + seed / 10}, "needle": {"accuracy": 0.1 * seed}}
            write_result(
                root, reseeded(made, scale, seed), losses=[4.0, 3.0],
                before={"validation": {"loss": 4.0}, "needle": {"accuracy": 0.9}}, after=after,
            )  # fmt: skip


def test_a_record_holds_every_seed_and_shows_mean_and_spread(tmp_path: Path) -> None:
    run(tmp_path)
    write(tmp_path, SCALES)
    record = json.loads((tmp_path / "results/records/mini.json").read_text())
    assert record["seeds"] == [1, 2, 3]
    assert record["stages"]["ouro/warmup"]["after"]["validation.loss"] == [3.1, 3.2, 3.3]
    assert "3.200 (3.100 to 3.300)" in (tmp_path / "results/records/mini.md").read_text()
    assert (tmp_path / "results/records/mini_ouro.png").exists()


def test_what_got_worse_is_told(tmp_path: Path) -> None:
    run(tmp_path)
    write(tmp_path, SCALES)
    worse = (tmp_path / "results/records/mini.md").read_text().split("## What got worse")[1].split("##")[0]
    assert "ouro/warmup: needles found 90.0% (90.0% to 90.0%) → 20.0% (10.0% to 30.0%)" in worse
    assert "validation loss" not in worse


def test_the_readme_s_table_is_replaced_and_the_rest_kept(tmp_path: Path) -> None:
    run(tmp_path)
    write(tmp_path, SCALES)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n| pipeline |")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "old figures" not in text


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no markers")
    with pytest.raises(UserError, match="are needed"):
        between(tmp_path / "README.md", "table")


def test_the_same_seed_twice_is_no_spread(tmp_path: Path) -> None:
    run(tmp_path, ("mini",))
    for made in ouro_like("mini_seed2").values():
        write_result(tmp_path, made)
    with pytest.raises(UserError, match="a spread needs different ones"):
        write(tmp_path, SCALES[:2])


def test_a_seed_that_stopped_half_way_is_named(tmp_path: Path) -> None:
    run(tmp_path, ("mini",))
    write_result(tmp_path, reseeded(ouro_like("mini_seed2")["warmup"], "mini_seed2", 2))
    with pytest.raises(UserError, match="results/mini_seed2: the scales differ in"):
        write(tmp_path, SCALES[:2])


def test_a_seed_that_has_more_than_the_first_is_named_too(tmp_path: Path) -> None:
    run(tmp_path, ("mini",))
    for made in ouro_like("mini_seed2").values():
        write_result(tmp_path, reseeded(made, "mini_seed2", 2))
    more = ouro_like("mini_seed2")["warmup"].model_copy(update={"name": "more"})
    write_result(tmp_path, reseeded(more, "mini_seed2", 2))
    with pytest.raises(UserError, match="results/mini_seed2: the scales differ in ouro/more"):
        write(tmp_path, SCALES[:2])


def test_a_scales_seed_is_that_of_most_stages_and_figures_are_those_that_all_seeds_have() -> None:
    seeds: Any = [SimpleNamespace(stage=SimpleNamespace(seed=seed)) for seed in (7, 1, 1, 9)]
    assert record._seed(seeds) == 1
    assert record._sides([{"a": 1.0, "b": 2.0}, {"b": 3.0, "c": 4.0}]) == {"b": [2.0, 3.0]}


def test_outside_git_the_commit_is_unknown(tmp_path: Path) -> None:
    assert commit(tmp_path) == "unknown"


def test_the_command_line_needs_a_scale(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "name the scales" in capsys.readouterr().err


def test_a_reading_s_picture_begins_with_the_stages_it_is_built_on(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    variant = stages["anneal_a"].model_copy(update={"pipeline": "another", "parents": ("ouro/stable1",)})
    for made in (stages["warmup"], stages["stable1"], variant):
        write_result(tmp_path, made)
    results = finished(Layout(tmp_path, "mini"))
    assert [result.stage.name for result in results] == ["anneal_a", "warmup", "stable1"]  # by pipeline
    assert [result.stage.name for result in lineage_of("another", results)] == ["warmup", "stable1", "anneal_a"]


def test_the_readme_has_the_record_s_means() -> None:
    root = Path(__file__).parents[3]
    record = json.loads((root / "results/records/mini.json").read_text(encoding="utf-8"))
    record["stages"] = in_order_of_specs(root, "mini", record["stages"])  # the file has them sorted by name
    assert between(root / "README.md", short(record)) == (root / "README.md").read_text(encoding="utf-8")


def test_the_readme_has_means_alone() -> None:
    stage = {"steps": [3, 3], "seconds": [1.0, 2.0], "before": {}, "after": {"answers.loss": [2.0, 3.0]}}
    made = {"seeds": [1, 2], "scale": "mini", "date": "today", "commit": "c", "environment": {"cpu_model": "a CPU"}}
    assert "sft: answer loss - → 2.500 |" in short({"stages": {"mine/sft": stage}, "gates": [], **made})

"""The closing table and the gates of results."""

import errno
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from stages.errors import UserError
from stages.report import collect, table
from stages.report.collect import finished
from stages.report.gates import judge, thirds
from stages.report.gates import main as judge_scale
from stages.report.metrics import StageResult, read
from stages.spec.resolved_phases import Source
from stages.store.layout import Layout
from tests.unit.report.make import T, ouro_like, phase, piece, stage, write_result

STAGES = ouro_like("mini")


def run_all(root: Path) -> Layout:
    for made in STAGES.values():
        write_result(root, made, before={"validation": {"loss": 4.0}}, after={"validation": {"loss": 3.0}})
    return Layout(root, "mini")


def test_finished_stages_come_parents_first(tmp_path: Path) -> None:
    names = [result.stage.name for result in finished(run_all(tmp_path))]
    assert sorted(names) == sorted(STAGES)
    for result in finished(Layout(tmp_path, "mini")):
        for parent in result.stage.parents:
            assert names.index(parent.split("/")[1]) < names.index(result.stage.name)


def test_a_scale_without_results_says_how_to_run_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="snakemake --config scale=mini"):
        finished(Layout(tmp_path, "mini"))


def test_of_the_results_that_are_asked_for_no_other_is_read(tmp_path: Path) -> None:
    layout = run_all(tmp_path)
    (layout.stage("ouro/keep") / "stage.json").write_text("damaged")
    results, unreadable = collect.readable(layout, ["ouro/stable1", "ouro/warmup"])
    assert [one.stage.name for one in results] == ["warmup", "stable1"]
    assert unreadable == {}
    assert list(collect.readable(layout)[1]) == ["ouro/keep"]


def test_a_row_says_where_shorter_rows_were_evaluated_than_a_stage_reads(tmp_path: Path) -> None:
    stage = STAGES["warmup"]
    short = stage.evaluation.model_copy(update={"names": ("validation_loss",), "context": 2048})
    folder = write_result(tmp_path, stage.model_copy(update={"evaluation": short}), losses=[3.0, 1.0])
    assert table.row(read(folder)).cells[3] == "4K, evaluated 2K"


def test_a_result_that_may_not_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, whole = run_all(tmp_path), collect.read

    def read(folder: Path) -> StageResult:
        if folder == layout.stage("ouro/keep"):
            raise PermissionError(errno.EACCES, "Permission denied", "ouro/keep/manifest.json")
        return whole(folder)

    monkeypatch.setattr(collect, "read", read)
    results, unreadable = collect.readable(layout)
    assert len(results) == len(STAGES) - 1
    assert unreadable["ouro/keep"].startswith("ouro/keep/manifest.json: refused (Permission denied)")


def test_a_result_in_a_folder_of_somebody_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, lstat = run_all(tmp_path), os.lstat
    closed = layout.manifest("ouro/keep")

    def refused(path: Path) -> os.stat_result:
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return lstat(path)

    monkeypatch.setattr(os, "lstat", refused)
    assert "ouro/keep" in collect._places(layout, [])
    closed.unlink()
    monkeypatch.undo()
    assert "ouro/keep" not in collect._places(layout, [])


def test_a_row_tells_tokens_steps_losses_and_cost(tmp_path: Path) -> None:
    losses = [3.0] * 10 + [1.0] * 10
    folder = write_result(tmp_path, STAGES["warmup"], losses=losses, after={"validation": {"loss": 2.5}})
    row = table.row(read(folder))
    assert row.cells[:6] == ("warmup", "16B", "20", "4K", "3.000 → 1.000", "- → 2.500")
    assert row.cells[7] == "10 s"  # 20 steps of half a second
    assert row.cells[8] == "1.6B"
    assert row.seconds == 10


@pytest.mark.parametrize(
    ("units", "cell"),
    [
        (None, "16B"),
        ([{"prose": 16 * 10**9}], "16B"),
        ([{"prose": 10 * 10**9, "math": 2 * 10**9}], "16B, 25% padding"),
        ([{"prose": 16 * 10**9}, {}], "16B"),  # of another number of phases: of another version of the stage
    ],
)
def test_a_row_tells_how_much_of_its_tokens_was_padding(
    tmp_path: Path, units: list[dict[str, int]] | None, cell: str
) -> None:
    assert table.row(read(write_result(tmp_path, STAGES["warmup"], read=units))).cells[1] == cell


def test_the_table_shows_stages_that_do_not_train(tmp_path: Path) -> None:
    grouped = table.by_pipeline(finished(run_all(tmp_path)))
    keep = next(row.cells for row in grouped["ouro"] if row.cells[0] == "keep")
    assert keep[:-1] == ("keep", "-", "-", "-", "-", "4.000 → 3.000", "keep", "-", "-"), "the last is the key"
    assert table.totals(grouped["ouro"]).startswith("8 stages, 24 steps")
    assert table.totals(grouped["ouro"][:1]).startswith("1 stage, ")
    assert "ouro at mini" in printed(grouped, 200)


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(140, ""), (100, "context, train loss, per s"), (80, "steps, context, train loss, time, per s, key")],
)
def test_a_narrow_terminal_does_without_columns_and_says_which(tmp_path: Path, width: int, left_out: str) -> None:
    before, after = {"positions": {"beyond": 4.5}}, {"validation": {"loss": 3.0}, "positions": {"beyond": 3.5}}
    write_result(tmp_path, STAGES["warmup"], before=before, after=after)
    text = printed(table.by_pipeline(finished(Layout(tmp_path, "mini"))), width)
    assert "loss beyond the old context 4.500 → 3.500" in text, "no cell is folded"
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert [line.strip() for line in text.splitlines() if "columns left out" in line] == [
        f"columns left out: {left_out}" for _ in range(bool(left_out))
    ]


def printed(grouped: Mapping[str, Sequence[table.Row]], width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    for made in table.rich_tables("mini", grouped, width):
        console.print(made)
    return console.export_text()


def test_a_result_that_the_specs_do_not_want_is_marked(tmp_path: Path) -> None:
    results = finished(run_all(tmp_path))
    marks: dict[str, table.Mark] = {one.stage.ref: "current" for one in results}
    marks["ouro/warmup"] = "stale"
    del marks["ouro/keep"]
    names = [row.cells[0] for row in table.by_pipeline(results, marks)["ouro"]]
    assert "warmup (stale)" in names
    assert "keep (not in the specs)" in names
    assert sum("(" in name for name in names) == 2


def test_ouro_s_losses_by_number_of_loops_stand_in_the_table(tmp_path: Path) -> None:
    after = {"loops": {"1": 3.5, "2": 3.2, "10": 3.0}}
    row = table.row(read(write_result(tmp_path, STAGES["warmup"], after=after)))
    assert row.cells[6] == "loss at 1 loop 3.500, at 10 loops 3.000"


def test_training_loss_has_to_fall(tmp_path: Path) -> None:
    good = read(write_result(tmp_path / "good", STAGES["warmup"], losses=[3.0, 2.0]))
    bad = read(write_result(tmp_path / "bad", STAGES["warmup"], losses=[2.0, 3.0]))
    assert [gate.passed for gate in judge([good, bad])] == [True, False]


def test_one_easy_row_does_not_decide_whether_training_loss_falls(tmp_path: Path) -> None:
    falls = [1.0, 4.2, 4.1, 4.0, 3.9, 3.8, 3.7, 3.6, 9.0]  # the first row is easy, the last one hard
    rises = [9.0, 3.6, 3.7, 3.8, 3.9, 4.0, 4.1, 4.2, 1.0]
    results = [
        read(write_result(tmp_path / name, STAGES["warmup"], losses=losses))
        for name, losses in (("falls", falls), ("rises", rises))
    ]
    assert [gate.passed for gate in judge(results)] == [True, False]


def test_a_step_counts_as_much_as_it_supervises(tmp_path: Path) -> None:
    result = read(write_result(tmp_path, STAGES["warmup"], losses=[4.0, 4.1, 5.0, 3.0, 3.1, 5.0]))
    assert result.metrics is not None
    result.metrics["supervised"] = [900, 900, 1, 900, 1, 1]
    assert thirds(result) == (4.0, 3.1)
    result.metrics["supervised"] = [1, 900, 1, 900, 1, 900]
    assert thirds(result) == (4.1, 5.0)


def test_the_gates_of_a_scale_decide_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert judge_scale(["mini"]) == 1
    assert "no finished stage" in capsys.readouterr().err
    assert judge_scale([]) == 2
    write_result(tmp_path, STAGES["warmup"], losses=[3.0, 2.0])
    assert judge_scale(["mini"]) == 0
    assert "1 of 1 gates passed" in capsys.readouterr().out
    write_result(tmp_path, STAGES["stable1"], losses=[2.0, 3.0])
    assert judge_scale(["mini"]) == 1
    assert "FAILED  ouro/stable1  training loss falls: 2.0000 → 3.0000" in capsys.readouterr().out


def gated(
    root: Path,
    objective: str,
    after: dict[str, object],
    old: int | None = None,
    kind: str = "",
    names: tuple[str, ...] = ("zero_shot",),
) -> dict[str, bool]:
    part = phase(T)
    sources = (Source(corpus="c", group="text", weight=1, start=0, end=T, digest="0" * 64, kind=kind),)
    part = part.model_copy(update={"objective": objective, "sources": sources})
    made = stage("s", "S", phases=[part], pieces=[piece(0, T, "constant", 1e-4, 1e-4)], scale="mini", old_context=old)
    made = made.model_copy(update={"evaluation": made.evaluation.model_copy(update={"names": names})})
    before = {"positions": {"beyond": 3.0}, "answers": {"loss": 3.0}}
    return {gate.name: gate.passed for gate in judge([read(write_result(root, made, before=before, after=after))])}


@pytest.mark.parametrize(
    ("objective", "after", "old", "gate", "passed"),
    [
        ("next_token", {"positions": {"beyond": 2.9}}, 2048, "loss beyond the old context falls", True),
        ("next_token", {"positions": {"beyond": 3.1}}, 2048, "loss beyond the old context falls", False),
        ("next_token", {}, 2048, "loss beyond the old context falls", False),  # a missing figure does not pass
        ("coca", {"digits": {"accuracy": 0.5}}, None, "zero-shot digits above chance", True),
        ("coca", {"digits": {"accuracy": 0.49}}, None, "zero-shot digits above chance", False),
        ("coca", {}, None, "zero-shot digits above chance", False),
        ("sft", {"answers": {"loss": 2.0}}, None, "answer loss falls", True),
        ("sft", {"answers": {"loss": 3.0}}, None, "answer loss falls", False),
    ],
)
def test_gates_by_kind_of_stage(
    tmp_path: Path, objective: str, after: dict[str, object], old: int | None, gate: str, passed: bool
) -> None:
    assert gated(tmp_path, objective, after, old)[gate] is passed


def test_no_gate_waits_for_what_cannot_be_evaluated(tmp_path: Path) -> None:
    """Pictures of one's own show no digits, and answers about pictures are no corpus of conversations."""
    assert gated(tmp_path / "pairs", "coca", {}, names=("retrieval",)).keys() == {"training loss falls"}
    assert gated(tmp_path / "pictures", "sft", {}, kind="multimodal").keys() == {"training loss falls"}
    assert "answer loss falls" in gated(tmp_path / "chats", "sft", {}, kind="sft")


def test_a_total_counts_tokens_and_patches_apart_and_names_no_patches_where_there_are_none(tmp_path: Path) -> None:
    text, vision = STAGES["warmup"], stage("vit", "ViT", phases=[phase(2 * T, unit="patches")], pieces=[])
    rows = [table.row(read(write_result(tmp_path, one))) for one in (text, vision)]
    assert "16B tokens, " in table.totals(rows[:1])
    assert "16B tokens and 2T image patches, " in table.totals(rows)

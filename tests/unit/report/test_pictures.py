"""Pictures: drawn from specs alone, the same bytes every time, whole or absent; labels are the figure's words."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from stages.report import pipeline_plot, stage_plots, style
from stages.report.metrics import read
from stages.spec.resolved import Stage
from tests.unit.report.make import T, chain_like, kimi_like, ouro_like, points_like, stage, write_result


def texts(figure: Figure) -> str:
    return "\n".join(item.get_text() for item in figure.findobj(Text))


def test_every_stage_its_budget_and_its_contexts_are_written_over_its_column() -> None:
    drawn = texts(pipeline_plot.draw("Ouro", "paper", ouro_like(), {}))
    for text in ("Warmup", "Stable Training", "CT Annealing", "LongCT", "3T\n4K", "20B\n64K → 128K", "Upcycle 2.6B"):
        assert text in drawn


def test_a_picture_without_results_says_that_it_is_no_measurement() -> None:
    assert "not a measurement" in texts(pipeline_plot.draw("Ouro", "paper", ouro_like(), {}))


def test_a_jump_of_the_rate_is_drawn_open_and_a_continued_rate_full() -> None:
    axes = pipeline_plot.draw("Ouro", "paper", ouro_like(), {}).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    full = [line for line in dots if line.get_markerfacecolor() != "white"]
    jumps = [line for line in dots if line.get_markerfacecolor() == "white"]
    assert {float(np.asarray(line.get_ydata())[0]) for line in full} == {3e-4}
    assert {tuple(np.asarray(line.get_ydata())) for line in jumps} == {(3e-5, 2e-5)}


def test_vision_stages_have_a_row_of_their_own_in_their_own_unit() -> None:
    figure = pipeline_plot.draw("Kimi-VL", "paper", kimi_like(), {})
    assert [axes.get_xlabel().split(" consumed")[0] for axes in figure.axes] == ["tokens", "image patches"]
    assert "→ Joint Pre-training at 4.2e-5" in texts(figure)


def test_measured_steps_are_marked_where_the_stage_has_results(tmp_path: Path) -> None:
    stages = ouro_like("mini")
    result = read(write_result(tmp_path, stages["warmup"]))
    assert result.metrics is not None
    figure = pipeline_plot.draw("Ouro", "mini", stages, {"ouro/warmup": result.metrics})
    assert "measured step" in texts(figure)
    assert any(np.size(line.get_xdata()) == 4 and line.get_marker() == "|" for line in figure.axes[0].lines)


def test_a_picture_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        style.save(pipeline_plot.draw("Ouro", "paper", ouro_like(), {}), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_a_stage_has_a_loss_and_a_learning_rate_picture(tmp_path: Path) -> None:
    result = read(write_result(tmp_path, ouro_like("mini")["warmup"], losses=[4 - step / 50 for step in range(100)]))
    assert result.metrics is not None
    stage_plots.write(result.stage, result.metrics, result.folder)
    for name in ("loss", "lr"):
        assert (result.folder / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_running_mean_smooths_and_does_not_shift(tmp_path: Path) -> None:
    losses = [2.0 + (-1) ** step for step in range(100)]
    result = read(write_result(tmp_path, ouro_like("mini")["warmup"], losses=losses))
    assert result.metrics is not None
    mean = stage_plots.draw_loss(result.stage, result.metrics).axes[0].lines[1]
    assert np.abs(np.asarray(mean.get_ydata()) - 2.0).max() < 0.5


def test_a_stand_in_is_called_one() -> None:
    made = stage("base", "LLama3.1 8B", stand_in=True, scale="mini", pipeline="llama31_1m")
    assert stage_plots.subtitle(made) == "llama31_1m/base, mini, stand-in"


def test_labels_of_a_row_do_not_overlap() -> None:
    figure = pipeline_plot.draw("Ouro", "paper", ouro_like(), {})
    figure.canvas.draw()  # lays the texts out
    boxes = [
        note.get_window_extent() for note in figure.axes[0].findobj(Annotation) if note.get_fontweight() == "bold"
        and note.get_text() in {"Warmup", "Stable Training", "CT Annealing", "LongCT"}
    ]  # fmt: skip
    edges = sorted((box.x0, box.x1) for box in boxes)
    assert all(left[1] < right[0] for left, right in pairwise(edges))


@pytest.mark.parametrize(
    "stages", [chain_like(30), points_like(T // 2, T * 6 // 10, T * 7 // 10)], ids=["thirty", "points"]
)
def test_nothing_that_is_written_over_columns_or_at_the_axis_is_on_something_else(stages: dict[str, Stage]) -> None:
    figure = pipeline_plot.draw("Many", "mini", stages, {})
    figure.canvas.draw()  # lays the texts out
    axes = figure.axes[0]
    over = [note for note in axes.findobj(Annotation) if note.get_text() and not note.get_text().startswith("budget")]
    shown = [one.get_window_extent() for one in [*over, *(tick for tick in axes.get_xticklabels() if tick.get_text())]]
    for number, one in enumerate(shown):
        for other in shown[number + 1 :]:
            apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 + 2 or other.y1 <= one.y0 + 2
            assert apart

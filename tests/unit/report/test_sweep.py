"""A sweep's table, picture and words: which is best, and what that does not say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.report import sweep, sweep_plot
from stages.report.headlines import VALIDATION
from stages.report.sweep import Arm


def arm(name: str, value: str, after: dict[str, float] | None) -> Arm:
    if after is None:
        return Arm(name, value, "missing", False, {}, None, "tokens")
    metrics = pd.DataFrame({"consumed": [10, 20, 30], "loss": [3.0, 2.0, 1.0]})
    return Arm(name, value, "done", True, after, metrics, "tokens")


def loss(value: float) -> dict[str, float]:
    return {"validation.loss": value}


ARMS = [arm("s_low", "1e-5", loss(2.5)), arm("s_mid", "1e-4", loss(2.0)), arm("s_high", "1e-3", loss(2.25))]


def test_the_best_is_named_with_the_next_and_an_end_of_the_values_is_said() -> None:
    assert sweep.conclusions(ARMS, "lr") == [
        "best: s_mid (lr: 1e-4), validation loss 2.0000; next s_high (1e-3), 2.2500"
    ]
    at_end = [ARMS[0], arm("s_mid", "1e-4", loss(2.6)), arm("s_high", "1e-3", loss(2.7))]
    assert sweep.conclusions(at_end, "lr")[1:] == ["it is at the end of the values: the best may lie beyond them"]
    words = [arm("s_a", "cosine", loss(1.0)), arm("s_b", "linear", loss(2.0))]
    assert len(sweep.conclusions(words, "shape")) == 1


def test_what_is_not_done_is_not_compared() -> None:
    some = [*ARMS[:2], arm("s_high", "1e-3", None)]
    assert sweep.conclusions(some, "lr")[1] == "2 of 3 are done: the others are not compared"
    assert sweep.conclusions([arm("a", "1", None), arm("b", "2", None)], "lr") == [
        "0 of 2 done; none has an evaluation to rank it by"
    ]


def test_without_a_validation_loss_the_most_telling_evaluation_ranks_and_higher_may_be_better() -> None:
    arms = [arm("a", "1", {"answers.well_formed": 0.5}), arm("b", "2", {"answers.well_formed": 0.75})]
    assert sweep.as_json(arms, "seed")["best"] == "b"
    assert sweep.as_json(ARMS, "lr")["ranked_by"] == "validation.loss"


def test_table_and_picture_have_every_variant(tmp_path: Path) -> None:
    table = sweep.rich_table("t", [*ARMS, arm("s_none", "1", None)])
    assert list(table.columns[0].cells) == ["s_low", "s_mid", "s_high", "s_none"]
    assert [row.style for row in table.rows] == [None, "bold", None, None]
    sweep_plot.write(ARMS, "t", "lr", tmp_path / "one.png")
    sweep_plot.write([arm("a", "x", loss(1.0)), arm("b", "y", {})], "t", "word", tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_a_value_of_a_variant_that_is_not_done_is_none() -> None:
    """What lies there is of other specs."""
    old = Arm("s_old", "1e-2", "stale", False, loss(0.1), None, "tokens")
    assert old.reached(VALIDATION) is None
    assert old.losses is None
    assert sweep.as_json([*ARMS, old], "lr")["best"] == "s_mid"
    assert sweep.as_json([old], "lr")["variants"][0]["after"] == {}


def test_of_equals_the_first_is_best() -> None:
    arms = [arm("s_a", "1", loss(2.0)), arm("s_b", "2", loss(2.0)), arm("s_c", "3", loss(3.0))]
    assert sweep.as_json(arms, "lr")["best"] == "s_a"


def test_an_end_of_the_values_is_one_where_all_are_numbers() -> None:
    arms = [arm("s_a", "1e-5", loss(1.0)), arm("s_b", "none", loss(2.0)), arm("s_c", "1e-3", loss(3.0))]
    assert len(sweep.conclusions(arms, "lr")) == 1
    low = [arm("s_a", "1e-5", loss(1.0)), arm("s_b", "1e-4", loss(2.0))]
    assert sweep.conclusions(low, "lr")[1] == "it is at the end of the values: the best may lie beyond them"


def test_training_losses_are_means_of_the_first_and_the_last_tenth() -> None:
    losses = [5.0, 3.0, *[2.0] * 17, 9.0, 0.5, 1.5]
    metrics = pd.DataFrame({"consumed": range(22), "loss": losses})
    assert Arm("s", "1", "done", True, {}, metrics, "tokens").losses == (4.0, 1.0)


def test_each_value_has_a_tick_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(sweep_plot, "save", lambda figure, path: drawn.append(figure))
    sweep_plot.write(ARMS, "s", "lr", tmp_path / "s.png")
    right = drawn[0].axes[1]
    assert [label.get_text() for label in right.get_xticklabels()] == ["1e-5", "1e-4", "1e-3"]

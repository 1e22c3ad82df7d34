"""Reading what a run wrote: every bad file is one error that names the file, the place and what to do."""

from pathlib import Path

import pandas as pd
import pytest

from stages.report.metrics import ResultError, flatten, read, read_metrics, running_mean
from tests.unit.report.make import ouro_like, write_result

WARMUP = ouro_like("mini")["warmup"]


def test_a_result_is_read_whole(tmp_path: Path) -> None:
    folder = write_result(tmp_path, WARMUP, before={"validation": {"loss": 4.0}}, after={"validation": {"loss": 3.0}})
    result = read(folder)
    assert result.stage == WARMUP
    assert result.metrics is not None
    assert list(result.metrics["loss"]) == [3.0, 2.5, 2.0, 1.5]
    assert result.metrics["consumed"].iloc[-1] == WARMUP.phases[0].budget
    assert (result.before, result.after) == ({"validation.loss": 4.0}, {"validation.loss": 3.0})


def test_consumed_counts_from_the_stage_s_own_start(tmp_path: Path) -> None:
    write_result(tmp_path, WARMUP)
    second = ouro_like("mini")["stable1"]
    metrics = read(write_result(tmp_path, second)).metrics
    assert metrics is not None
    assert metrics["clock"].iloc[-1] == WARMUP.phases[0].budget + second.phases[0].budget
    assert metrics["consumed"].iloc[-1] == second.phases[0].budget


def test_a_running_mean_is_of_the_values_around_and_of_at_least_half_a_window() -> None:
    values = pd.Series([1.0, 2.0, 3.0, 4.0])
    assert running_mean(values, 3).tolist() == [1.5, 2.0, 3.0, 3.5]
    assert running_mean(values, 10).isna().all()


def test_a_loss_is_read_to_its_last_bit(tmp_path: Path) -> None:
    loss = 2.3025850929940455
    metrics = read(write_result(tmp_path, WARMUP, losses=[loss])).metrics
    assert metrics is not None
    assert metrics["loss"].iloc[0] == loss


def test_a_stage_that_does_not_train_has_no_metrics(tmp_path: Path) -> None:
    made = ouro_like("mini")["keep"].model_copy(update={"parents": ()})
    result = read(write_result(tmp_path, made))
    assert result.metrics is None
    assert result.timing is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a table"),
        ("phase,step\nmain,1\n", "line 1: columns tokens, clock, supervised, lr, loss, grad_norm are missing"),
        ("phase,step,tokens,clock,supervised,lr,loss,grad_norm\n", "has no steps"),
        ("phase,step,tokens,clock,supervised,lr,loss,grad_norm\nmain,1,8,8,8,1e-4,2.0,1.0\nmain,2,16,16,8,1e-4,nan,1.0\n",
         "line 3: loss is nan, expected a finite number"),
        ("phase,step,tokens,clock,supervised,lr,loss,grad_norm\nmain,1,8,8,8,1e-4,2.0,inf\n",
         "line 2: grad_norm is inf"),
        ("phase,step,tokens,clock,supervised,lr,loss,grad_norm\nmain,1,8,8,8,fast,2.0,1.0\n", "line 2: lr is fast"),
        ("phase,step,tokens,clock,supervised,lr,loss,grad_norm\nmain,1,8,8,8,1e-4,2.0,1.0\nmain,2,8,8,8,1e-4,2.0,1.0\n",
         "line 3: clock does not grow"),
    ],
)  # fmt: skip
def test_a_bad_table_is_one_error_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ResultError) as caught:
        read_metrics(tmp_path / "metrics.csv", WARMUP)
    assert says in str(caught.value)
    assert str(tmp_path / "metrics.csv") in str(caught.value)
    assert "stages status --deep" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("metrics.csv", None, "is not there"),
        ("eval.json", "{", "is not JSON"),
        ("eval.json", "[]", "found a list, expected an object"),
        ("eval.json", '{"before": {}}', "after: found None"),
        ("stage.json", "{}", "pipeline: is missing"),
        ("timing.csv", "phase,step,seconds\nmain,1,-2\n", "column seconds"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    folder = write_result(tmp_path, WARMUP)
    (folder / name).unlink(missing_ok=True)
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(ResultError) as caught:
        read(folder)
    assert f"{folder / name}: " in str(caught.value)
    assert says in str(caught.value)


def test_evaluations_flatten_to_dotted_names() -> None:
    tree = {"needle": {"64": [1.0, 0]}, "loss": 2, "name": "left out", "flag": True}
    assert flatten(tree) == {"needle.64.0": 1.0, "needle.64.1": 0.0, "loss": 2.0}

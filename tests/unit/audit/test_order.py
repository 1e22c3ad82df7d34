"""The order of runs: by paths of checkpoints, by what the user says in audit.yaml, and never by a guess."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.audit import run
from stages.audit.order import quantity
from stages.errors import SpecError, UserError
from tests.edits import edit, replaced
from tests.unit.audit.planted import SOUND


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """Two runs that paths do not join."""
    folder = tmp_path / "recipes"
    shutil.copytree(SOUND / "megatron_override", folder)
    two = folder / "two.sh"
    edit(two, "--load /ckpt/stable", "--load $SOMEWHERE", "    --ckpt-step 6000 \\\n", "")
    (folder / "audit.yaml").unlink()
    return folder


def said(recipes: Path, text: str) -> list[tuple[str, str, int | None]]:
    (recipes / "audit.yaml").write_text(text)
    return [(one.parent.name, one.child.name, one.step) for one in run.read([recipes]).edges]


def test_a_path_of_which_nothing_is_known_joins_nothing(recipes: Path) -> None:
    assert run.read([recipes]).edges == ()


def test_the_user_says_what_a_run_loads_and_at_which_step(recipes: Path) -> None:
    assert said(recipes, "recipes:\n  two.sh: {from: one.sh, step: 6_000}\n") == [("one.sh", "two.sh", 6000)]
    assert said(recipes, "recipes:\n  two.sh: {from: one.sh, step: 6K}\n") == [("one.sh", "two.sh", 6000)]


def test_without_a_step_it_is_the_parents_end(recipes: Path) -> None:
    assert said(recipes, "recipes:\n  two.sh: {from: one.sh}\n") == [("one.sh", "two.sh", 6000)]


def test_what_the_user_says_is_checked(recipes: Path) -> None:
    said(recipes, "recipes:\n  two.sh: {from: one.sh, step: 5_500}\n")
    found = {one.kind: one.where for one in run.findings(run.read([recipes]))}
    assert str(found["step-not-saved"]) == "audit.yaml:2"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("recipes:\n  one.sh: {form: two.sh}\n", "audit.yaml:2: form", "from, step, tokens, world"),
        ("recipes:\n  one.sh:\n    step: many\n", "audit.yaml:3: step", "a whole number"),
        ("recipes:\n  one.sh: {tokens: 1.5}\n", "audit.yaml:2: tokens", "a whole number"),
        ("recipes:\n  one.sh: {step: -1}\n", "audit.yaml:2: step", "a whole number"),
        ("stages: [one.sh]\n", "audit.yaml:1: stages", "recipes"),
        ("recipes: [\n", "audit.yaml:2: the file", "what is not YAML"),
    ],
)
def test_what_it_cannot_mean_is_refused_at_its_line(recipes: Path, text: str, where: str, words: str) -> None:
    with pytest.raises(SpecError, match=where) as error:
        said(recipes, text)
    assert words in str(error.value)


def test_names_that_nothing_has_and_circles_are_refused(recipes: Path) -> None:
    with pytest.raises(UserError, match=r"audit.yaml:2: no recipe three.sh was read; there are one.sh, two.sh"):
        said(recipes, "recipes:\n  two.sh: {from: three.sh}\n")
    with pytest.raises(UserError, match=r"circle: one.sh, two.sh"):
        said(recipes, "recipes:\n  two.sh: {from: one.sh}\n  one.sh: {from: two.sh}\n")


def test_a_claim_is_met_within_half_of_its_last_digit(recipes: Path) -> None:
    """6,000 steps of 256 x 2,048 are 3.1457B."""

    def claimed(text: str) -> bool:
        said(recipes, f"recipes:\n  one.sh: {{tokens: {text}}}\n")
        return "budget-claimed" not in {one.kind for one in run.findings(run.read([recipes]))}

    assert all(claimed(text) for text in ("3B", "3.1B", "3.15B", "3.146B", "3_145_728_000"))
    assert not any(claimed(text) for text in ("3.0B", "3.30B", "4B"))


def test_quantities() -> None:
    read = [quantity(text) for text in ("1_000", "1.5T", "2e3", "7.7 T", "x", "1.5", "1K2", "")]
    assert read == [1000, 1_500_000_000_000, 2000, 7_700_000_000_000, None, None, None, None]


TRAINER = (
    "python train.py --model_name_or_path {} --output_dir {} --max_steps 1000 --save_steps 250 --learning_rate {} "
    "--per_device_train_batch_size 1\n"
)


def test_two_runs_of_a_trainer_in_one_script_are_two_and_joined_by_the_checkpoint(tmp_path: Path) -> None:
    script = TRAINER.format("released", "out/one", "1e-5") + TRAINER.format("out/one/checkpoint-750", "out/two", "2e-5")
    (tmp_path / "run.sh").write_text(script)
    found = run.read([tmp_path])
    assert [(one.parent.name, one.child.name, one.step) for one in found.edges] == [("run.sh#1", "run.sh#2", 750)]


@pytest.mark.parametrize(
    ("step", "kind"), [(1250, "step-not-saved"), (600, "step-not-saved"), (750, "parent-not-finished")]
)
def test_a_trainers_weights_come_from_a_step_that_the_parent_saves(tmp_path: Path, step: int, kind: str) -> None:
    (tmp_path / "one.sh").write_text(TRAINER.format("released", "out/one", "1e-5"))
    (tmp_path / "two.sh").write_text(TRAINER.format(f"out/one/checkpoint-{step}", "out/two", "2e-5"))
    assert kind in {one.kind for one in run.findings(run.read([tmp_path]))}
    (tmp_path / "two.sh").write_text(TRAINER.format("out/one/checkpoint-1000", "out/two", "2e-5"))
    assert run.findings(run.read([tmp_path])) == []


def test_a_trainer_that_saves_after_each_epoch_has_checkpoints_at_other_steps(tmp_path: Path) -> None:
    first = replaced(TRAINER.format("released", "out/one", "1e-5"), "--save_steps 250", "--save_strategy epoch")
    (tmp_path / "one.sh").write_text(first)
    (tmp_path / "two.sh").write_text(TRAINER.format("out/one/checkpoint-333", "out/two", "2e-5"))
    assert [one.kind for one in run.findings(run.read([tmp_path]))] == ["parent-not-finished"]


@pytest.mark.parametrize(("folder", "edges"), [("megatron_three", 2), ("bridge", 1), ("nemotron", 3), ("olmo", 2)])
def test_runs_of_a_folder_are_joined_by_the_paths_of_checkpoints(folder: str, edges: int) -> None:
    pipeline = run.read([SOUND / folder])
    assert (len(pipeline.edges), pipeline.notes) == (edges, ())


def test_paths_that_lead_in_a_circle_join_nothing_and_are_said(tmp_path: Path) -> None:
    """Each script begins from the folder that the other one saves to, since a variable of both is not set."""
    for name, other in (("one", "two"), ("two", "one")):
        text = TRAINER.format(f"$ROOT/{other}", f"$ROOT/{name}", "1e-5")
        (tmp_path / f"{name}.sh").write_text(text)
    found = run.read([tmp_path])
    assert (len(found.stages), found.edges) == (2, ())
    assert found.notes == (
        "one.sh:1: by their paths, one.sh, two.sh go on from one another; say in audit.yaml which do",
    )


def test_the_place_of_a_path_is_where_its_last_part_was_written(tmp_path: Path) -> None:
    lines = ["ROOT=/runs", "PARENT=$ROOT/one", TRAINER.format("$PARENT", "$ROOT/two", "1e-5")]
    (tmp_path / "two.sh").write_text("\n".join(lines))
    (stage,) = run.read([tmp_path]).stages
    assert [str(stage.at(name)) for name in ("pretrained", "save")] == ["two.sh:2", "two.sh:3"]


@pytest.mark.parametrize(("rate", "kinds"), [("1.5e-4", set()), ("3e-5", {"decay-unfinished"})])
def test_an_annealing_that_begins_at_the_parents_last_rate_goes_on_from_its_cut_decay(
    rate: str, kinds: set[str], tmp_path: Path
) -> None:
    flags = "--num-layers 4 --hidden-size 64 --micro-batch-size 1 --attention-dropout 0 --hidden-dropout 0"
    (tmp_path / "one.sh").write_text(
        f"python pretrain_gpt.py {flags} --lr 3e-4 --lr-decay-iters 2000 --train-iters 1000 --save /a\n"
    )
    (tmp_path / "two.sh").write_text(
        f"python pretrain_gpt.py {flags} --lr {rate} --train-iters 100 --load /a --finetune --save /b\n"
    )
    assert {one.kind for one in run.findings(run.read([tmp_path]))} == kinds


def test_the_tokenizer_of_the_model_that_is_loaded_is_the_parents(tmp_path: Path) -> None:
    """Two names for one folder: where the parent was pushed, and where it was saved."""
    first = TRAINER.format("maker/base-8b", "out/tuned", "1e-5").rstrip() + " --tokenizer_name maker/base-8b"
    second = TRAINER.format("us/base-8b-tuned", "out/pairs", "1e-6").rstrip() + " --tokenizer_name us/base-8b-tuned"
    (tmp_path / "run.sh").write_text(f"{first} --hub_model_id base-8b-tuned\n{second}\n")
    found = run.read([tmp_path])
    assert len(found.edges) == 1
    assert run.findings(found) == []

"""Recipes of other frameworks: every planted defect at its line; nothing that is read is run, or breaks a reader."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.audit import run
from stages.audit.readers import olmo, python_source, torchtitan
from stages.audit.readers.text import Unreadable
from stages.audit.recipe import Read
from stages.errors import UserError
from tests.edits import edit, replaced, substituted
from tests.unit.audit.planted import SOUND

OLMO = (SOUND / "olmo/long.py").read_text()


def read(expression: str) -> tuple[Read, str | None]:
    """What an expression is read as, and why it is unknown."""
    text = f"A = 3\nB = 1\nif A:\n    B = 2\nC = C\ndef build(opts):\n    x = {expression}\n"
    source = python_source.parse(text, "a.py")
    node = source.names["build", "x"]
    assert node is not None
    value = source.value(node, "build", "x")
    return value.value, value.unknown


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("4 * 1024 * A", 12288), ("int(5e12) // 2**22", 1192092), ("-(-7 // 2)", 4), ("max(8, A)", 8),
        ("opts.length or 2**13", 8192), ("(0.9, 0.95)", (0.9, 0.95)), ("1_000 / 8", 125.0), ("'a' 'b'", "ab"),
    ],
)  # fmt: skip
def test_arithmetic_of_a_script_is_worked_out(expression: str, value: Read) -> None:
    assert read(expression) == (value, None)


@pytest.mark.parametrize(
    "expression",
    [
        "B", "C", "opts.length", "world() // 8", "9**9**9", "10**6 ** 64", "2.0**9999", "1 // 0", "1e999", "len([1])",
        "__import__('os').system('touch run')", "[one for one in (1, 2)][0]", "'a' * 10**9", "min()", "int('5')",
        "A + 'a'", "eval('1')", "A if B else 2", "(lambda: 1)()", "not_there", "'%d' % 5", "-'a'", "~A", "10**18 * 9",
    ],
)  # fmt: skip
def test_what_is_not_worked_out_is_unknown_with_its_reason(expression: str) -> None:
    value, reason = read(expression)
    assert value is None
    assert reason


@pytest.mark.parametrize(
    "text",
    ["(" * 5000, "x = " + "-" * 100_000 + "1", "x = " + "+".join(["1"] * 20_000), "def :", "\0", "x = '", "a" * 300_000,
     "x = [" + "1, " * 31_000 + "]"],
    ids=["brackets", "minus", "sum", "syntax", "null", "quote", "long", "wide"],
)  # fmt: skip
def test_python_that_no_parser_bears_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(Unreadable, match=r"^a\.py:\d+"):
        olmo.stages(text + "\n# TrainerConfig( TransformerTrainModuleConfig(", "a.py")


@pytest.mark.parametrize("text", ["[training]\nsteps = ", "[training]\na = 1\na = 2", "[training]\nx = " + "[" * 3000])
def test_toml_that_is_none_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(Unreadable, match=r"^a\.toml:\d+"):
        torchtitan.toml_stages(text, "a.toml")


def test_reading_a_script_runs_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = "import pathlib\npathlib.Path('was_run').touch()\nraise SystemExit\n"
    (tmp_path / "recipe.py").write_text(hostile + OLMO)
    pipeline = run.read([tmp_path])
    assert [one.count("steps") for one in pipeline.stages] == [9537]
    assert [one.name for one in tmp_path.iterdir()] == ["recipe.py"]


@pytest.mark.parametrize(
    ("line", "figure"),
    [
        ("    module.rank_microbatch_size //= 2", "micro_batch"),
        ("    if opts.big:\n        module.max_sequence_length = 8192", "context"),
        ("    model.d_model -= 256", "hidden"),
    ],
)
def test_a_figure_that_is_changed_later_is_unknown(line: str, figure: str) -> None:
    before = olmo.stages(OLMO, "a.py")[0]
    after = olmo.stages(replaced(OLMO, "    if opts.small:", f"{line}\n    if opts.small:"), "a.py")[0]
    assert before.get(figure) is not None
    assert after.get(figure) is None


def test_what_a_recipe_in_python_decides_is_unknown_not_a_default() -> None:
    named, whole = (run.read([SOUND / folder]).stages[0] for folder in ("nemotron", "bridge"))
    assert [one.get("tp") for one in (named, whole)] == [None, 2]
    assert "small_pretrain_config" in (named.values["tp"].unknown or "")


def test_a_run_goes_on_from_its_parents_end_where_no_step_is_named() -> None:
    second = next(one for one in run.read([SOUND / "nemotron"]).edges if one.child.name == "second.yaml")
    assert (second.parent.name, second.step, second.latest) == ("first.yaml", 80_000, True)
    assert second.child.count("tokens") == 20_000 * 256 * 8192


@pytest.mark.parametrize("value", ["-1", "0", "9" * 60, ".nan", "-.inf", "1e308", "[1, 2]", "{a: 1}", "true", "~"])
def test_a_figure_that_no_run_has_breaks_no_rule(value: str, tmp_path: Path) -> None:
    text = (SOUND / "nanotron/stable.yaml").read_text()
    (tmp_path / "long.yaml").write_text((SOUND / "nanotron/long.yaml").read_text())
    for key in ("train_steps", "sequence_length", "lr_warmup_steps", "learning_rate", "dp", "lr_decay_steps"):
        (tmp_path / "recipe.yaml").write_text(substituted(text, rf"\b{key}: [^\s,]+", f"{key}: {value}"))
        run.findings(run.read([tmp_path]))


def test_a_launch_of_megatron_that_does_not_train_is_no_recipe(tmp_path: Path) -> None:
    flags = "--num-layers 2 --hidden-size 8 --seq-length 16 --micro-batch-size 1 --load /m --no-load-optim"
    (tmp_path / "answer.sh").write_text(f"torchrun run_text_generation.py {flags}\n")
    with pytest.raises(UserError, match="No recipe"):
        run.read([tmp_path])


def test_a_flag_of_a_fork_that_counts_on_from_a_known_one_is_no_slip(tmp_path: Path) -> None:
    text = (SOUND / "megatron_finetune/pretrain.sh").read_text()
    (tmp_path / "fork.sh").write_text(replaced(text, "--weight-decay 0.1", "--weight-decay 0.1 --adam-beta3 0.9"))
    assert run.findings(run.read([tmp_path])) == []


def test_of_a_folder_that_two_runs_save_to_nobody_is_the_parent(tmp_path: Path) -> None:
    for name in ("first", "second", "long"):
        shutil.copy(SOUND / f"nemotron/{name}.yaml", tmp_path)
    edit(tmp_path / "first.yaml", "/results/small-first", "/results/small-second", everywhere=True)
    assert [one.child.name for one in run.read([tmp_path]).edges] == []

"""What a launch line changes of a configuration counts, at its place in the script; what is not followed is said."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from stages.audit import run
from stages.audit.readers import formats
from stages.audit.recipe import Read
from stages.errors import UserError
from tests.edits import replaced
from tests.unit.audit.planted import SOUND


def launched(tmp_path: Path, folder: str, line: str) -> dict[str, tuple[Read, str]]:
    """The figures of the first run of a sound recipe that a script launches, each with its file."""
    shutil.copytree(SOUND / folder, tmp_path / "recipes")
    for script in (tmp_path / "recipes").glob("*.sh"):
        script.unlink()
    (tmp_path / "recipes/go.sh").write_text(f"#!/bin/bash\n{line}\n")
    stage = run.read([tmp_path / "recipes"]).stages[0]
    return {name: (one.value, str(one.where)) for name, one in stage.values.items()}


@pytest.mark.parametrize(
    ("folder", "line", "figure", "value"),
    [
        ("titan_toml", "torchrun -m torchtitan.train --job.config_file ./train.toml --optimizer.lr=2e-4", "lr", 2e-4),
        ("titan_toml", "torchrun train.py --job.config-file=train.toml --training.seq-len 8192", "context", 8192),
        ("titan_toml", "NGPU=8 CONFIG_FILE=./train.toml ./run_train.sh --training.steps 30000", "steps", 30_000),
        ("titan_python", "torchrun -m torchtitan.train --module small --config small --training.steps 7", "steps", 7),
        ("olmo", "torchrun pretrain.py run1 --train_module.optim.lr=6e-4", "lr", 6e-4),
        ("olmo", "torchrun pretrain.py run1 --trainer.max_duration='{value: 9000, unit: steps}'", "steps", 9000),
        ("olmo", "python pretrain.py run1 --sequence-length=8192", "context", 8192),
        ("bridge", "torchrun train.py --config-file pretrain.yaml train.train_iters=30000", "steps", 30_000),
        ("bridge", "torchrun train.py --config-file pretrain.yaml ++optimizer.lr=1e-4", "lr", 1e-4),
        ("factory", "llamafactory-cli train pretrain.yaml learning_rate=3e-5", "lr", 3e-5),
        ("axolotl", "axolotl train sft.yml --learning-rate 1e-4", "lr", 1e-4),
        ("axolotl", "accelerate launch -m axolotl.cli.train sft.yml --learning_rate=1e-4", "lr", 1e-4),
        ("nanotron", "torchrun run_train.py --config-file stable.yaml --tokens.train_steps $UNKNOWN", "steps", None),
    ],
)
def test_what_a_launch_line_sets_counts_at_its_line(
    folder: str, line: str, figure: str, value: Read, tmp_path: Path
) -> None:
    assert launched(tmp_path, folder, line)[figure] == (value, "go.sh:2")


def test_a_switch_that_a_launch_line_turns_off_is_off(tmp_path: Path) -> None:
    found = launched(tmp_path, "titan_toml", "torchrun train.py longer.toml --checkpoint.no-enable")
    assert "load" not in found
    assert found["load_off"][0] == "/runs/small/checkpoint/step-20000"


@pytest.mark.parametrize(
    "line", ["echo torchrun train.py train.toml --optimizer.lr 1", "cp train.toml --optimizer.lr 1"]
)
def test_a_line_that_launches_nothing_changes_nothing(line: str, tmp_path: Path) -> None:
    assert launched(tmp_path, "titan_toml", line)["lr"] == (6e-4, "train.toml:12")


def test_a_file_that_is_launched_twice_is_two_runs(tmp_path: Path) -> None:
    shutil.copy(SOUND / "titan_toml/train.toml", tmp_path / "train.toml")
    start = "torchrun -m torchtitan.train --job.config_file train.toml"
    (tmp_path / "go.sh").write_text(
        f"{start} --optimizer.lr 1e-4\n{start} --optimizer.lr 2e-4\n{start} --optimizer.lr 1e-4"
    )
    assert [(one.name, one.get("lr")) for one in run.read([tmp_path]).stages] == [
        ("train.toml#1", 1e-4), ("train.toml#2", 2e-4),
    ]  # fmt: skip


def test_where_no_recipe_is_found_it_is_said_what_was_looked_at(tmp_path: Path) -> None:
    (tmp_path / "go.sh").write_text("#!/bin/bash\ntorchrun train.py --lr 1\n")
    (tmp_path / "values.yaml").write_text("shopping: [milk]\n")
    (tmp_path / "model.py").write_text("x = 1\n")
    with pytest.raises(UserError) as error:
        run.read([tmp_path])
    assert str(error.value).splitlines() == [
        "No recipe was found in 3 files.",
        "go.sh: go.sh:2 starts train.py, with no three settings of a format",
        "model.py: no TrainerConfig of OLMo-core, no Trainer.Config of torchtitan, no TrainingArguments written out",
        "values.yaml: keys of none of the formats",
        *run.READ,
    ]


def test_arguments_that_are_not_followed_are_a_notice(tmp_path: Path) -> None:
    shutil.copy(SOUND / "titan_toml/train.toml", tmp_path / "train.toml")
    (tmp_path / "go.sh").write_text("torchrun pretrain_gpt.py --bf16 $(python make_flags.py)\n")
    (said,) = run.read([tmp_path]).notes
    assert said == "go.sh:1: starts pretrain_gpt.py with arguments that are not followed (go.sh:1)"


def test_launch_lines_without_end_take_no_time(tmp_path: Path) -> None:
    shutil.copy(SOUND / "titan_toml/train.toml", tmp_path / "train.toml")
    deep = "--" + ".".join("a" * 20_000)
    many = " ".join(f"--optimizer.k{n} {n}" for n in range(9000))
    line = f"torchrun train.py train.toml {deep}=1 {many}\n"
    (tmp_path / "go.sh").write_text(
        line + "".join(f"torchrun t.py train.toml --optimizer.lr {n}\n" for n in range(900))
    )
    before = time.monotonic()
    assert len(run.read([tmp_path]).stages) <= formats.MOST
    assert time.monotonic() - before < 20


def test_what_a_template_fills_in_is_unknown(tmp_path: Path) -> None:
    text = (SOUND / "axolotl/sft.yml").read_text()
    text = replaced(text, "num_epochs: 2", "num_epochs: ${EPOCHS}\nmax_steps: '{{ steps }}'")
    (tmp_path / "sft.yml").write_text(replaced(text, "output_dir: /models/tuned", "output_dir: ${ROOT}/tuned"))
    pipeline = run.read([tmp_path])
    (stage,) = pipeline.stages
    assert [stage.get(name) for name in ("epochs", "steps", "save")] == [None, None, "${ROOT}/tuned"]
    assert run.findings(pipeline) == []


def test_a_flag_of_a_fork_may_be_given_again_and_again(tmp_path: Path) -> None:
    text = (SOUND / "megatron_finetune/pretrain.sh").read_text()
    (tmp_path / "run.sh").write_text(replaced(text, "--bf16", "--component images=tp=1 --component text=tp=2 --bf16"))
    assert run.findings(run.read([tmp_path])) == []


@pytest.mark.parametrize(
    ("launch", "learned"),
    [
        ("trl sft", None), ("trl dpo", "preferences"), ("accelerate launch trl/scripts/grpo.py", "preferences"),
        ("python examples/reward_modeling.py", "preferences"), ("python train.py --name dpo", None),
    ],
)  # fmt: skip
def test_what_trl_learns_is_known_by_its_program(launch: str, learned: str | None, tmp_path: Path) -> None:
    flags = "--output_dir out --learning_rate 1e-6 --max_steps 100 --per_device_train_batch_size 1"
    (tmp_path / "run.sh").write_text(f"{launch} {flags}\n")
    assert run.read([tmp_path]).stages[0].get("objective") == learned


@pytest.mark.parametrize(
    "flags",
    [
        "--decoder-first-pipeline-num-layers 6 --decoder-last-pipeline-num-layers 7",
        "--account-for-embedding-in-pipeline-split --account-for-loss-in-pipeline-split",
        "--pipeline-model-parallel-layout Et*6|t*7L",
        "--hybrid-layer-pattern M-M-M*-|M-M-M-",
    ],
)
def test_pipeline_ranks_may_have_other_numbers_of_layers(flags: str, tmp_path: Path) -> None:
    text = replaced(
        (SOUND / "megatron_finetune/pretrain.sh").read_text(), "--num-layers 16", f"--num-layers 13 {flags}"
    )
    text = replaced(text, "--global-batch-size 512", "--global-batch-size 500 --decrease-batch-size-if-needed")
    (tmp_path / "run.sh").write_text(text)
    assert run.findings(run.read([tmp_path])) == []


DEEPSPEED = """deepspeed --num_gpus 8 train.py --deepspeed zero3.json --model_name_or_path gpt2 --output_dir out \\
  --learning_rate 1e-5 --max_steps 100 --per_device_train_batch_size 4 --train_file rows.json
"""


def test_files_of_other_programs_are_no_runs_of_their_own(tmp_path: Path) -> None:
    """They were read as a second run that saves to the same folder: nothing then went on from either."""
    (tmp_path / "go.sh").write_text(DEEPSPEED)
    (tmp_path / "zero3.json").write_text('{"gradient_clipping": "auto"}')
    (tmp_path / "rows.json").write_text('[{"text": "a"}]')
    (stage,) = run.read([tmp_path]).stages
    assert (stage.name, stage.get("world")) == ("go.sh", 8)


@pytest.mark.parametrize("option", ["--config sft.yaml", "sft.yaml", "--config_file acc.yaml tune.py sft.yaml"])
def test_a_command_that_names_a_recipe_is_its_launch_and_no_other_run(option: str, tmp_path: Path) -> None:
    text = (SOUND / "deepspeed/sft.yaml").read_text()
    (tmp_path / "sft.yaml").write_text(text)
    (tmp_path / "acc.yaml").write_text("mixed_precision: bf16\nnum_processes: 8\n")
    program = "" if "tune.py" in option else "tune.py "
    more = "--learning_rate 3e-6 --num_train_epochs 1 --output_dir out"
    (tmp_path / "go.sh").write_text(f"accelerate launch {program}{option} {more}\n")
    (stage,) = run.read([tmp_path]).stages
    assert (stage.name, stage.get("lr"), stage.get("save")) == ("sft.yaml", 3e-6, "out")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"log_history": [], "max_steps": 10, "learning_rate": 1, "output_dir": "a"}', "the Trainer's log of a run"),
        ('{"_runtime": 10, "train/loss": 1.5}', "the summary of Weights & Biases"),
        ('{"_wandb": {}, "max_steps": {"value": 1}, "output_dir": {"value": "a"}, "learning_rate": {"value": 1}}',
         "the settings as Weights & Biases noted them"),
    ],
)  # fmt: skip
def test_what_a_training_wrote_is_said_to_be_a_log(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(text)
    with pytest.raises(UserError, match=said):
        run.read([tmp_path])


def test_a_reference_that_leads_to_itself_stays_unknown(tmp_path: Path) -> None:
    text = replaced((SOUND / "foundry/1_pretrain.yaml").read_text(), "length: 2048", "length: ${max_seq_len}")
    (tmp_path / "a.yaml").write_text(text)
    (stage,) = run.read([tmp_path]).stages
    assert stage.get("context") is None


def test_a_name_of_the_hub_is_compared_with_what_runs_are_pushed_as(tmp_path: Path) -> None:
    text = (SOUND / "deepspeed/sft.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text + "hub_model_id: zephyr-7b-sft\n")
    child = replaced(text, "runs/domain", "me/zephyr-7b-stf", "runs/answers", "runs/other")
    (tmp_path / "b.yaml").write_text(child)
    (found,) = run.findings(run.read([tmp_path]))
    assert (found.kind, found.expected) == ("parent-misspelt", "me/zephyr-7b-sft, which a.yaml is pushed as?")


@pytest.mark.parametrize(
    ("pushed", "name"),
    [
        ("zephyr-7b-sft", "zephyr-7b-dpo"),
        ("zephyr-7b-sft", "zephyr-7b-sft-v0.1"),
        ("zephyr-7b-sft", "zephyr-8b-sft"),
        ("zephyr-7b-sft", "zephyr-7b-sft"),
        ("zephyr-70b-sft", "zephyr-170b-sft"),  # a letter less, and another size
        ("zephyr-v1.2", "zephyr-v2.1"),
    ],
)
def test_another_name_of_the_hub_is_another_model(pushed: str, name: str, tmp_path: Path) -> None:
    text = (SOUND / "deepspeed/sft.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text + f"hub_model_id: {pushed}\n")
    (tmp_path / "b.yaml").write_text(replaced(text, "runs/domain", f"me/{name}", "runs/answers", "runs/other"))
    assert run.findings(run.read([tmp_path])) == []


def test_flags_in_a_text_that_no_command_is_given(tmp_path: Path) -> None:
    text = (SOUND / "megatron_finetune/pretrain.sh").read_text()
    (tmp_path / "go.sh").write_text('MORE="--clip-grad 0.5 --seed 3"\n' + text)
    (found,) = [one for one in run.findings(run.read([tmp_path])) if one.kind == "flags-not-passed"]
    assert (found.where.line, found.expected) == (1, "$MORE in it")

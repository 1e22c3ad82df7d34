"""What follows from a recipe's figures, beside a plain count of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from stages.audit import run
from stages.audit.figures import steps_of
from stages.audit.recipe import Read, Stage, Value
from stages.errors import Where

WHERE = Where("a", 1)


def stage(**figures: Read) -> Stage:
    return Stage("a", "megatron-lm", WHERE, {name: Value(value, WHERE, name) for name, value in figures.items()})


def counted(batch: int, samples: int, start: int, increment: int, over: int) -> int:
    """Iterations as Megatron-LM's update_train_iters counts them, one after the other."""
    sizes = (batch - start) // increment
    consumed = iterations = 0
    while consumed <= over and consumed < samples:
        size = start + (int(consumed * sizes / over) if sizes else 0) * increment
        consumed, iterations = consumed + min(size, batch), iterations + 1
    return iterations + max(0, samples - consumed) // batch


def test_the_steps_of_a_batch_ramp_are_those_that_megatron_makes() -> None:
    draw = random.Random(3)
    for _ in range(300):
        start, increment = draw.choice([4, 8, 16, 24]), draw.choice([4, 8, 16])
        batch = start + increment * draw.randrange(1, 20)
        over, samples = draw.randrange(1, 20_000), draw.randrange(1, 60_000)
        found = steps_of(stage(batch=batch, ramp=(start, increment, over)), samples)
        assert found == counted(batch, samples, start, increment, over), (batch, start, increment, over, samples)


def test_a_ramp_that_is_none_has_no_steps() -> None:
    for ramp in ((64, 64), (0, 64, 10), (64, 0, 10), (128, 64, 10), ("a", "b", "c")):
        assert steps_of(stage(batch=64, ramp=ramp), 1000) is None


@pytest.mark.parametrize(
    ("launch", "world"),
    [
        ("torchrun --nnodes=2 --nproc_per_node=4 pretrain_gpt.py", 8),
        ("torchrun --nproc_per_node=4 pretrain_gpt.py --nnodes 3", None),  # behind the script it is the script's
        ("srun torchrun --nnodes $SLURM_NNODES --nproc-per-node 8 pretrain_gpt.py", None),
        ("python -m torch.distributed.launch --nnodes 1 --nproc_per_node 8 pretrain_gpt.py", 8),
    ],
)
def test_devices_are_what_the_launcher_is_given(launch: str, world: int | None, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text(f"{launch} --num-layers 2 --hidden-size 64 --train-iters 10 --lr 1e-3\n")
    assert run.read([tmp_path]).stages[0].count("world") == world


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("/a/iter_0001000", 1000), ("/a/step5000", 5000), ("/a/checkpoint-250", 250), ("/a/global_step40", 40),
        ("/a/step7000-hf", 7000), ("/a/120000", 120_000), ("/a/model-8b", None), ("/a/v2", None), ("/a/7", None),
    ],
)  # fmt: skip
def test_the_step_is_read_of_the_name_of_a_checkpoint(path: str, step: int | None, tmp_path: Path) -> None:
    text = f"python pretrain_gpt.py --num-layers 2 --hidden-size 64 --train-iters 10 --lr 1e-3 --load {path}\n"
    (tmp_path / "run.sh").write_text(text)
    assert run.read([tmp_path]).stages[0].count("load_step") == step


@pytest.mark.parametrize(
    ("recipe", "figures"),
    [
        (
            "megatron_finetune/anneal.sh",
            {"world": 16, "replicas": 8, "warmup_steps": 12, "decay_steps": 1200, "tokens": 1200 * 256 * 8192,
             "finetune": True, "gated": True, "bf16": True, "head_dim": 128, "clip": 1.0},
        ),
        ("megatron_override/two.sh", {"load_step": 6000, "tokens": 2000 * 256 * 2048, "wsd_steps": 2000}),
        (
            "trainer_shell/run.sh",
            {"warmup_steps": 500, "min_lr": 1e-6, "bf16": True, "rope_base": 8_000_000, "decay_steps": 5000},
        ),
        ("factory/pretrain.yaml", {"warmup_steps": 150, "min_lr": 0.0, "context": 4096, "beta2": 0.999}),
    ],
)  # fmt: skip
def test_figures_follow_from_those_that_are_stated(recipe: str, figures: dict[str, Read]) -> None:
    folder, name = recipe.split("/")
    stages = run.read([Path(__file__).parent / "sound" / folder]).stages
    found = next(one for one in stages if one.name == name)
    assert {key: found.get(key) for key in figures} == pytest.approx(figures)

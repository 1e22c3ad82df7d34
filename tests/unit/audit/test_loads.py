"""What frameworks do on load and where files are silent: the page says what rules use, what runs here agrees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import transformers

from stages.audit.frameworks import DEFAULTS, SOURCES
from stages.audit.loads import ROWS, Row, on_load
from stages.audit.readers.transformers import FIGURES
from stages.audit.recipe import Read, Stage, Value
from stages.errors import Where

PAGE = (Path(__file__).resolve().parents[3] / "docs/audit.md").read_text()
MEANING = {
    "file": "this file's, from its start",
    "asserted": "both, which have to be equal: else the launch stops",
    "override": "this file's, at the restored step",
    "checkpoint": "the checkpoint's; this file's figures are ignored",
    "peak": "this file's shape at the restored step, times the checkpoint's peak",
}


def stage(framework: str, **figures: Read) -> Stage:
    where = Where("a", 1)
    return Stage("a", framework, where, {name: Value(value, where, name) for name, value in figures.items()})


def when(framework: str, **figures: Read) -> str | None:
    found = on_load(stage(framework, **figures))
    return None if found is None else found.when


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.loads.when)
def test_the_page_has_every_case(row: Row) -> None:
    loads = row.loads
    yes = {True: "yes", False: "no"}
    cells = (loads.when, yes[loads.optimizer], loads.scheduler, yes[loads.step], yes[loads.data])
    assert " | ".join(cells) in PAGE
    assert f"- `{loads.scheduler}`: {MEANING[loads.scheduler]}." in PAGE


def test_the_page_has_every_default() -> None:
    for name, table in DEFAULTS.items():
        figures = ", ".join(f"{key} {value}" for key, value in sorted(table.items()))
        assert f"| {name} | {figures} | {SOURCES[name]} |" in PAGE


def test_the_first_case_that_a_file_states_counts() -> None:
    assert when("megatron-lm") is None
    assert when("megatron-lm", load="/a", save="/b") == "--load"
    assert when("megatron-lm", load="/a", finetune=True, no_load_optim=True) == "--load, --finetune"
    assert when("megatron-lm", load="/a", finetune=False) == "--load"
    both = {"override_scheduler": True, "scheduler_from_checkpoint": True}
    assert when("megatron-lm", load="/a", **both) == "--load, --override-opt_param-scheduler"
    assert when("nanotron", load="/a", load_lr_scheduler=False) == "resume_checkpoint_path, load_lr_scheduler: false"
    assert when("torchtitan", load="/a") == "initial_load_path"
    assert when("somebody's own", load="/a") is None


def test_a_run_that_loads_what_it_saves_itself_loads_nothing_at_first() -> None:
    assert when("megatron-lm", load="/a", save="/a/") is None
    assert when("transformers", load="/a/checkpoint-500", save="/a") is None
    assert when("megatron-lm", load="/ab", save="/a") == "--load"
    assert when("megatron-lm", load="/a", save="/a", pretrained="/b") == "--pretrained-checkpoint"
    said = {"load": "/a", "save": "/a", "from": "first.sh"}
    assert when("megatron-lm", **said) == "--load", "the user says that it goes on from another run"


def test_what_lambda_lr_restores_is_its_peak_and_step_and_not_its_shape() -> None:
    """Why resumed runs of the Trainer, nanotron and torchtitan have the checkpoint's peak (`peak`)."""

    def scheduler(peak: float, steps: int) -> tuple[torch.optim.SGD, torch.optim.lr_scheduler.LambdaLR]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)

    optimizer, first = scheduler(1.0, 10)
    for _ in range(4):
        optimizer.step()
        first.step()
    other, second = scheduler(0.5, 20)
    other.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    other.step()
    second.step()
    assert second.get_last_lr() == [1.0 * (1 - 5 / 20)]


def test_the_trainers_defaults_are_those_of_the_version_that_is_installed() -> None:
    fields = {one.name: one.default for one in dataclasses.fields(transformers.TrainingArguments)}
    mine = {key: figure for key, figure in FIGURES.items() if figure in DEFAULTS["transformers"] and key in fields}
    found = {figure: fields[key] for key, figure in mine.items()}
    assert found == {name: DEFAULTS["transformers"][name] for name in found}
    assert len(found) > 8

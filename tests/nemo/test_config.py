"""The configuration of every stage of scale mini_nemo beside Megatron-Bridge's own classes: nothing is left to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from stages.engines.nemo.config import Config, config
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase

ROOT = Path(__file__).parents[2]
# What a container has and no configuration can state: objects and functions, which the engine sets.
OBJECTS = {
    "timers", "finalize_model_grads_func", "grad_scale_func", "moe_grad_scale_func", "mtp_grad_scale_func",
    "no_sync_func", "grad_sync_func", "param_sync_func", "_cpu_offloading_context", "quant_recipe",
    "experimental_attention_variant_loss_scale_func", "init_method", "output_layer_init_method",
    "embedding_init_method", "fp8_quantizer_factory", "fp4_quantizer_factory", "transformer_layer_spec",
    "_pg_collection", "local_rank",
}  # fmt: skip


def phases() -> list[tuple[str, Stage, Phase]]:
    """Every phase that the NeMo engine trains at mini_nemo."""
    project = Project.load(ROOT)
    stages = [
        one for name in ("llama31_1m", "kimi_vl", "ouro") for one in project.resolve(name, "mini_nemo").stages.values()
    ]
    return [
        (f"{stage.pipeline}.{stage.name}.{phase.name}", stage, phase)
        for stage in stages if stage.execution.engine == "nemo" for phase in stage.phases
    ]  # fmt: skip


PHASES = phases()
every_phase = pytest.mark.parametrize(("stage", "phase"), [one[1:] for one in PHASES], ids=[one[0] for one in PHASES])


def unset(made: Config) -> set[str]:
    """Fields of Bridge's classes that a configuration does not state."""
    from stages.engines.nemo.container import classes

    return {
        f"{section}.{field.name}"
        for section, of in classes(made).items() for field in dataclasses.fields(of)
        if field.init and field.name not in OBJECTS and field.name not in (made[section] or {})
    }  # fmt: skip


@every_phase
def test_no_field_is_left_to_a_default(stage: Stage, phase: Phase) -> None:
    assert unset(config(stage, phase)) == set()


def test_a_field_that_is_taken_out_is_found() -> None:
    _, stage, phase = PHASES[0]
    made = config(stage, phase)
    assert made["optimizer"] is not None
    made["optimizer"] = {name: one for name, one in made["optimizer"].items() if name != "adam_eps"}
    assert unset(made) == {"optimizer.adam_eps"}


def test_every_section_of_the_container_is_stated() -> None:
    from megatron.bridge.training.config import ConfigContainer

    _, stage, phase = PHASES[0]
    named = {field.name for field in dataclasses.fields(ConfigContainer) if field.init}
    assert named - set(config(stage, phase)) == {"optimizer_config_override_provider"}, "an object: which weights decay"
    assert set(config(stage, phase)) - named == {"stages"}


def test_a_field_that_bridge_does_not_know_is_refused() -> None:
    from stages.engines.nemo.container import container

    _, stage, phase = PHASES[0]
    made = config(stage, phase)
    assert made["model"] is not None
    made["model"]["hidden_sise"] = 64
    with pytest.raises(ValueError, match="GPTModelProvider of this Megatron-Bridge does not know hidden_sise"):
        container(made)


@every_phase
def test_bridge_takes_the_whole_and_moves_no_number(
    stage: Stage, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`validate` fills in, synchronises and corrects: of what we state it changes nothing."""
    from stages.engines.nemo.container import classes, container, value

    monkeypatch.setenv("WORLD_SIZE", str(stage.execution.ranks))
    made = config(stage, phase)
    whole = container(made)
    whole.validate()
    moved = {
        f"{section}.{name}": (plain, getattr(getattr(whole, section), name))
        for section in classes(made) for name, plain in (made[section] or {}).items()
        if not same(getattr(getattr(whole, section), name), value(name, plain))
    }  # fmt: skip
    assert moved == {}


def same(found: Any, stated: Any) -> bool:
    return type(found) is type(stated) and bool(found == stated)

"""Memory and disk against counts written out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from stages.contract import hardware, memory
from stages.contract.hardware import Hardware
from stages.contract.parameters import parameters
from stages.spec.families.ouro import OuroModel
from stages.spec.project import Project
from stages.spec.resolved import Stage


@pytest.fixture
def stage(project: Project) -> Stage:
    """On the torch engine, as a scale without the NeMo engine would plan it."""
    published = project.resolve("llama31_1m", "paper").stages["cpt_1m"]
    torch = {"engine": "torch", "parallel": None}
    execution = published.execution.model_copy(update=torch)
    return published.model_copy(update={"engine_class": "torch-bf16", "execution": execution})


@pytest.fixture
def h100(project: Project) -> Hardware:
    return hardware.load(project.files, "h100")


def test_zero1_keeps_weights_and_gradients_whole(stage: Stage, h100: Hardware) -> None:
    found = memory.of(stage, stage.phases[0], h100)
    count = parameters(stage.modules["llm"]).total
    assert found.layout == "zero1"
    assert found.states == 4 * count + 12 * count // stage.execution.ranks


def test_a_smaller_device_makes_it_fsdp(stage: Stage, h100: Hardware) -> None:
    small = dataclasses.replace(h100, memory=40 * 10**9)
    found = memory.of(stage, stage.phases[0], small)
    count = parameters(stage.modules["llm"]).total
    assert found.layout == "fsdp"
    assert found.states == 16 * count // stage.execution.ranks + 2 * 2 * count // 32


def test_a_sequence_is_divided_where_there_are_more_ranks_than_sequences(stage: Stage) -> None:
    phase = stage.phases[0]  # 4 sequences of 1Mi
    assert stage.execution.ranks == 128
    assert memory.positions(stage, phase) == 2**20 * 4 / 128


def test_recomputation_keeps_one_layer_and_inputs(stage: Stage, h100: Hardware) -> None:
    all_kept = stage.model_copy(update={"execution": stage.execution.model_copy(update={"activations": "kept"})})
    kept = memory.of(all_kept, stage.phases[0], h100).activations
    recomputed = memory.of(stage, stage.phases[0], h100).activations
    at_once, hidden, vocab = 2**15, 4096, 128_256
    assert recomputed == at_once * (34 * hidden + 2 * hidden * 32) + 4096 * 6 * vocab
    assert kept == at_once * 34 * hidden * 32 + at_once * 6 * vocab


def test_a_looped_model_keeps_each_layer_once_a_loop_and_whole_no_logits(project: Project, h100: Hardware) -> None:
    """Four loops of 24 layers, one row at once; its loss is taken in blocks."""
    published = project.resolve("ouro", "paper").stages["stable_2_1_4b"]
    changes = {"engine": "torch", "parallel": None, "ranks": 1}
    found = []
    for activations in ("kept", "recomputed"):
        execution = published.execution.model_copy(update={**changes, "activations": activations})
        stage = published.model_copy(update={"engine_class": "torch-bf16", "execution": execution})
        found.append(memory.of(stage, stage.phases[0], h100).activations)
    (phase,), model = published.phases, published.modules["llm"]
    at_once, hidden, blocks = phase.context * phase.micro_batch, 2048, 4 * 24
    assert isinstance(model, OuroModel)
    assert (model.layers, model.hidden) == (24, hidden)
    logits = min(at_once, 4096) * 6 * model.vocab
    assert found == [at_once * 34 * hidden * blocks, at_once * (34 * hidden + 2 * hidden * blocks) + logits]


def test_a_stage_needs_its_result_its_partial_checkpoints_and_the_ends_of_its_phases(project: Project) -> None:
    stage = project.resolve("kimi_vl", "paper").stages["joint_longctx"]
    assert stage.optimizer is not None
    state = dict.fromkeys(stage.trained, stage.optimizer)
    assert (stage.execution.keep_partials, len(stage.phases)) == (2, 2)
    assert memory.disk(stage, state) == 4 * memory.checkpoint(stage, state)


def test_a_pipeline_needs_all_results_and_what_the_largest_run_has_beside_its_own() -> None:
    assert memory.disk_of_all([(5, 20), (7, 8), (3, 0)]) == 5 + 7 + 15
    assert memory.disk_of_all([]) == 0


def test_checkpoints(project: Project) -> None:
    resolved = project.resolve("kimi_vl", "paper")
    text, align = resolved.stages["text_pretrain"], resolved.stages["vit_align"]
    llm = parameters(text.modules["llm"])
    ends, state = llm.embedding + llm.head, resolved.states["text_pretrain"]
    whole = memory.checkpoint(text, state)
    assert whole == 4 * llm.total + 4 * (llm.total - ends) + 8 * ends  # Muon: one moment of matrices
    assert memory.disk(text, state) == whole * 3  # two partial ones and the result
    weights = sum(parameters(model).total for model in align.modules.values())
    frozen = memory.checkpoint(align, resolved.states["vit_align"])
    assert frozen < 4 * weights + 9 * (weights - llm.total)  # frozen: weights only


def test_the_host_has_a_copy_of_a_checkpoint_beside_gpus_where_something_is_trained(project: Project) -> None:
    for scale, factor in (("paper", 1), ("mini", 0)):  # GPUs, and a CPU, on which a run waits
        resolved = project.resolve("kimi_vl", scale)
        text = resolved.stages["text_pretrain"]
        assert memory.copied(text) == factor * memory.checkpoint(text, resolved.states["text_pretrain"])
    assert memory.copied(project.resolve("ouro", "paper").stages["upcycle_2_6b"]) == 0


def test_pointers_and_releases_take_no_disk(project: Project) -> None:
    resolved = project.resolve("ouro", "paper")
    for name in ("keep_1_4b", "ouro_1_4b", "thinking_2_6b"):
        assert memory.disk(resolved.stages[name], resolved.states[name]) == 0


def test_a_stage_without_phases_has_the_moments_that_it_takes_over(project: Project) -> None:
    resolved = project.resolve("ouro", "paper")
    upcycle, release = resolved.stages["upcycle_2_6b"], resolved.stages["ouro_2_6b"]
    count = parameters(upcycle.modules["llm"]).total
    assert memory.checkpoint(upcycle, resolved.states["upcycle_2_6b"]) == 12 * count  # AdamW: two moments
    assert memory.checkpoint(release, resolved.states["ouro_2_6b"]) == 4 * count  # an export has weights alone

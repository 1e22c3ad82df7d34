"""Memory and time of the NeMo engine's layouts against counts written out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from stages.contract import duration, hardware, memory, memory_layers, memory_nemo
from stages.contract.hardware import Hardware
from stages.contract.parameters import parameters
from stages.contract.parameters import routed as routed_experts
from stages.plan import table
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Parallel
from stages.spec.resolved_phases import Preference

WHOLE = {"tp": 1, "pp": 1, "cp": 1, "ep": 1, "vpp": 1}
PLAIN: dict[str, Any] = {**WHOLE, "sequence_parallel": False, "distributed_optimizer": False, "recompute": "none"}
GB = 10**9


@pytest.fixture
def h100(project: Project) -> Hardware:
    return hardware.load(project.files, "h100")


@pytest.fixture
def llama(project: Project) -> Stage:
    return project.resolve("llama31_1m", "paper").stages["cpt_1m"]


@pytest.fixture
def moonlight(project: Project) -> Stage:
    return project.resolve("kimi_vl", "paper").stages["text_pretrain"]


def laid(stage: Stage, ranks: int, engine_class: str = "nemo-bf16", **layout: Any) -> Stage:
    """A published stage on the NeMo engine."""
    parallel = Parallel(**{**PLAIN, **layout})
    again = "recomputed" if parallel.layers_again else "kept"
    given = {"engine": "nemo", "ranks": ranks, "parallel": parallel, "activations": again}
    return stage.model_copy(
        update={"engine_class": engine_class, "execution": stage.execution.model_copy(update=given)}
    )


def parts(stage: Stage, h100: Hardware) -> memory.Memory:
    return memory.of(stage, stage.phases[0], h100)


def test_a_parameter_in_bf16_has_eighteen_bytes_and_in_fp32_sixteen(llama: Stage, h100: Hardware) -> None:
    """Weight, gradient in fp32, master copy and two moments; in fp32 no master copy."""
    count = parameters(llama.modules["llm"]).total
    for width, each in (("nemo-bf16", 2 + 4 + 12), ("nemo-fp32", 4 + 4 + 8)):
        found = parts(laid(llama, 1, width), h100)
        assert found.states + found.gradients == each * count


def test_a_reference_has_the_weights_once_more_divided_as_the_model_is(llama: Stage, h100: Hardware) -> None:
    """In what the model computes with: without gradients, master copies and moments."""
    settings = Preference(loss="dpo", beta=0.1, answers="sum", turn_ends="learned", nll=0.0)
    preferring = tuple(phase.model_copy(update={"preference": settings}) for phase in llama.phases)
    count = parameters(llama.modules["llm"]).total
    for engine_class, each in (("nemo-bf16", 2), ("nemo-fp32", 4)):
        alone = laid(llama, 32, engine_class, tp=8, distributed_optimizer=True)
        beside = alone.model_copy(update={"phases": preferring})
        assert parts(beside, h100).states - parts(alone, h100).states == each * count // 8
        assert parts(beside, h100).gradients == parts(alone, h100).gradients


def test_tensor_ranks_divide_parameters_and_replicas_the_optimizer(llama: Stage, h100: Hardware) -> None:
    count = parameters(llama.modules["llm"]).total
    whole = parts(laid(llama, 32, tp=8), h100)
    divided = parts(laid(llama, 32, tp=8, distributed_optimizer=True), h100)
    assert whole.states == 14 * count // 8
    assert divided.states == int(2 * count / 8 + 12 * count / 8 / 4), "6 + 12/d with the gradient"
    assert divided.gradients == 4 * count // 8


def test_context_ranks_share_the_optimizer_too(llama: Stage, h100: Hardware) -> None:
    found = [parts(laid(llama, 16, cp=cp, distributed_optimizer=True), h100).states for cp in (1, 4)]
    assert found[0] == found[1]


def test_the_first_pipeline_rank_has_its_layers_and_the_embedding(llama: Stage, h100: Hardware) -> None:
    count = parameters(llama.modules["llm"])
    layers = count.total - count.embedding - count.head
    assert parts(laid(llama, 4, pp=4), h100).gradients == 4 * (layers // 4 + count.embedding)


def test_expert_ranks_divide_routed_experts_alone(moonlight: Stage, h100: Hardware) -> None:
    model = moonlight.modules["llm"]
    routed = 3 * 2048 * 1408 * 64 * 26
    assert isinstance(model, LanguageModel)
    assert routed_experts(model.parts) == routed
    whole, divided = (parts(laid(moonlight, 8, ep=ep), h100).gradients for ep in (1, 8))
    assert whole - divided == 4 * (routed - routed // 8)


def test_moments_of_experts_are_divided_among_the_replicas_that_each_expert_has(
    moonlight: Stage, h100: Hardware
) -> None:
    """Half of the experts for half of the replicas: a rank has as many moments as before, and fewer weights in bf16."""
    model = moonlight.modules["llm"]
    assert isinstance(model, LanguageModel)
    one, two = (parts(laid(moonlight, 8, ep=ep, distributed_optimizer=True), h100).states for ep in (1, 2))
    assert one - two == pytest.approx(2 * routed_experts(model.parts) / 2, abs=2)


def test_keys_of_whole_rows_are_divided_by_heads(llama: Stage) -> None:
    model = llama.modules["llm"]
    assert isinstance(model, LanguageModel)
    one, four = (
        memory_nemo._gathered(model, llama.phases[0], Parallel(**{**PLAIN, "cp": 2, "tp": tp}), 2) for tp in (1, 4)
    )
    assert one == 4 * four > 0


def test_positions_channels_and_layers_are_divided(llama: Stage, h100: Hardware) -> None:
    def activations(**layout: Any) -> int:
        return parts(laid(llama, 128, **layout), h100).activations

    one = activations()
    assert activations(tp=8) < one / 2, "what is around norms stays whole"
    angles = 2 * 4 * 128 * 2**20 * (32 + memory_nemo.CHECKED)  # cosines and sines, which no tensor rank divides
    assert activations(tp=8, sequence_parallel=True) == pytest.approx((one - angles) / 8 + angles, rel=1e-6)
    assert activations(pp=4) == one, "a quarter of the layers, of four micro-batches"
    assert activations(pp=4, vpp=2) > one, "an interleaved pipeline has more micro-batches in flight"
    assert activations(recompute="full") < one / 8
    keys = 2 * 8 * 128 * 2 * 2**20  # bytes of a layer's keys and values of a whole row
    assert activations(cp=16) == pytest.approx(one / 16 + memory_nemo.GATHERED * keys, rel=1e-6)


def test_a_layer_of_cores_keeps_what_the_gate_multiplies_and_the_angles(llama: Stage, moonlight: Stage) -> None:
    """What comes up once more, and cosines and sines of queries and keys. Of a mixture, shared experts are Core's."""
    models = [stage.modules["llm"] for stage in (llama, moonlight)]
    found = [memory_nemo._of_core(model) for model in models if isinstance(model, LanguageModel)]
    assert found == [(14336, 4 * 128), (2 * 1408, 4 * 64)]


def test_logits_are_divided_by_words_and_positions(llama: Stage, h100: Hardware) -> None:
    found = parts(laid(llama, 128, tp=8, cp=16), h100).loss
    assert found == 2**20 // 16 * 128_256 // 8 * 12


def test_a_layout_is_priced_as_stated_whether_it_fits_or_not(llama: Stage, h100: Hardware) -> None:
    found = parts(laid(llama, 8, tp=8), h100)
    assert found.layout == "t8"
    assert found.total > h100.memory


def test_a_table_says_the_layout_in_letters() -> None:
    assert Parallel(**{**PLAIN, "tp": 8, "pp": 4, "vpp": 2, "cp": 16, "ep": 8}).words == "t8 p4 v2 c16 e8"
    assert [table._layout(name) for name in ("one", "zero1", "", "t8")] == ["", " z1", "", " t8"]


def test_a_pipelines_ranks_wait_p_minus_one_over_m_v(moonlight: Stage, h100: Hardware) -> None:
    """arXiv 2104.04473, section 2.2.2."""
    phase, stage = moonlight.phases[0], laid(moonlight, 512, pp=8)
    sequences = phase.batch[0].sequences
    batches = sequences // phase.micro_batch // 64
    whole = phase.model_copy(update={"budget": 10 * sequences * phase.context, "batch": phase.batch[:1]})
    assert duration.bubble(stage, whole) == pytest.approx(7 / batches)
    assert duration.bubble(laid(moonlight, 512, pp=8, vpp=4), whole) == pytest.approx(7 / batches / 4)
    assert duration.bubble(laid(moonlight, 512), whole) == 0
    plain, waiting = (
        duration.device_seconds(one, whole, h100, 1e18, {})
        for one in (laid(moonlight, 512), laid(moonlight, 512, pp=8))
    )
    assert waiting == pytest.approx(plain * (1 + 7 / batches))


def test_a_ramp_waits_more_where_its_steps_are_small(project: Project) -> None:
    ramped = next(
        phase for stage in project.resolve("ouro", "paper").stages.values() for phase in stage.phases
        if len(phase.batch) > 1
    )  # fmt: skip
    stage = laid(project.resolve("llama31_1m", "paper").stages["cpt_1m"], 4, pp=4)
    first = ramped.model_copy(update={"batch": ramped.batch[:1]})
    last = ramped.model_copy(update={"batch": (ramped.batch[-1].model_copy(update={"after": 0}),)})
    small, mixed, large = (duration.bubble(stage, one) for one in (first, ramped, last))
    assert small > mixed > large


def test_on_a_cpu_a_process_holds_the_imported_libraries_too(project: Project) -> None:
    cpu = hardware.load(project.files, "laptop_cpu")
    stages = {scale: project.resolve("llama31_1m", scale).stages["cpt_256k"] for scale in ("mini", "mini_nemo")}
    found = {scale: memory.of(stage, stage.phases[0], cpu) for scale, stage in stages.items()}
    assert found["mini_nemo"].runtime - found["mini"].runtime == memory_nemo.IMPORTED


def test_recomputed_images_are_whole_a_group_at_a_time(project: Project, h100: Hardware) -> None:
    """Half of a row of 128K positions: 262,144 patches of 588 numbers, and a layer's input 27 times for each."""
    stage = project.resolve("kimi_vl", "paper").stages["joint_longctx"]
    row, layout = stage.phases[1], stage.execution.parallel
    assert layout is not None
    again = memory_nemo._beside(stage, row, layout, h100)
    whole = memory_nemo._beside(stage, row, layout.model_copy(update={"recompute": "none"}), h100)
    vit = stage.modules["vit"]
    each = memory_layers.saved(vit, True, 1, 1).bytes(bf16=True) * 28 + 2 * 4 * 1152
    ends = 2**18 * 588 * 4 + 2**16 * 2 * 2 * 2048
    assert again == pytest.approx(8192 * each + ends)
    assert whole == pytest.approx(2**18 * each + ends)
    assert again < 15 * GB < 300 * GB < whole


def test_a_checkpoint_has_the_divided_optimizer_whole_once_more(project: Project, h100: Hardware) -> None:
    """A master copy and two moments of 2.67B parameters: more than what a step of short rows keeps."""
    stage = project.resolve("ouro", "paper").stages["stable_2_2_6b"]
    count = parameters(stage.modules["llm"]).total
    found = parts(stage, h100)
    assert (found.activations, found.loss) == (12 * count, 0)
    assert (found.states + found.gradients + found.activations) / GB == pytest.approx(48.15, rel=0.01), "as traced"

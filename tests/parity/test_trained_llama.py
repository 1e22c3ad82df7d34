"""Every box of llama31_1m, trained for two steps: what lies on disk is what transformers computes with.

The stages are those of the specs at mini, RoPE, contexts, schedules and hand-overs included; only their budgets are
cut and their text is made up.
"""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from stages.engines import Inputs, run, training
from stages.models import hf
from stages.models.build import make
from stages.spec.families.llama import LlamaModel
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store import manifest
from stages.store.layout import Layout
from stages.store.manifest import Parent
from tests.rounding import noise
from tests.unit.train import tiny

ROOT = Path(__file__).parents[2]
STEPS = 2


def shortened(stage: Stage) -> Stage:
    """The stage with two steps a phase and without evaluations."""
    phases = tuple(
        phase.model_copy(update={"budget": STEPS * phase.batch[0].sequences * phase.context, "batch": phase.batch[:1]})
        for phase in stage.phases
    )
    return stage.model_copy(update={"phases": phases, "evaluation": stage.evaluation.model_copy(update={"names": ()})})


def inputs(stage: Stage, layout: Layout, number: int) -> Inputs:
    """Inputs under a made-up key, with the parents as they lie on disk."""
    parents = {}
    for ref in stage.parents:
        found, digest = manifest.read_with_digest(layout.manifest(ref))
        parents[ref] = Parent(key=found.key, manifest=digest)
    key = f"{number:032x}"
    return Inputs(layout, key, (key,) * len(stage.phases), parents, layout.data, {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, dict[str, Stage]]:
    layout = Layout(tmp_path_factory.mktemp("trained"), "mini")
    stages = {name: shortened(stage) for name, stage in Project.load(ROOT).resolve("llama31_1m", "mini").stages.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PhaseData", tiny.Data)
        for number, stage in enumerate(stages.values(), start=1):
            run(stage, inputs(stage, layout, number))
    return layout, stages


@pytest.mark.slow
def test_transformers_reads_every_stage_with_the_same_logits(trained: tuple[Layout, dict[str, Stage]]) -> None:
    layout, stages = trained
    assert {stage.rope.interpolation for stage in stages.values() if stage.rope} == {1.0, 8.0}
    for name, stage in stages.items():
        folder = layout.stage(f"llama31_1m/{name}") / "model" / "llm"
        cfg = stage.modules["llm"]
        assert isinstance(cfg, LlamaModel)
        ours = make(cfg, stage.rope, "cpu").eval()
        hf.load(ours, folder)
        theirs = LlamaForCausalLM.from_pretrained(folder).eval()
        assert theirs.config.max_position_embeddings == stage.max_context
        length = stage.max_context
        tokens = torch.randint(0, cfg.vocab, (1, length), generator=torch.Generator().manual_seed(0))

        def logits(model: nn.Module = ours, tokens: torch.Tensor = tokens) -> torch.Tensor:
            return model.logits(model(tokens, torch.arange(tokens.shape[1])[None], None, None))

        allowed = noise(ours, logits, max(cfg.hidden, cfg.ffn))
        with torch.no_grad():
            got = logits()
            for shown in (40, length):
                difference = (got[:, :shown] - theirs(tokens[:, :shown]).logits).abs().max()
                assert difference <= allowed, f"{name}: logits of {shown} tokens differ by {difference}"


@pytest.mark.slow
def test_every_trained_stage_moved_its_weights(trained: tuple[Layout, dict[str, Stage]]) -> None:
    layout, stages = trained
    digests = {
        name: next(
            shard.blake3
            for shard in manifest.read(layout.manifest(f"llama31_1m/{name}")).shards
            if shard.file == "model/llm/model.safetensors"
        )
        for name in stages
    }
    assert digests["instruct"] == digests["sft_1m"]
    assert len(set(digests.values())) == len(stages) - 1

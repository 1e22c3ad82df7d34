"""Evaluations in Megatron's own model: the torch engine's numbers from the same weights, in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import evals
from stages.evals.heldout import Heldout
from stages.spec.resolved import Stage
from tests.nemo import engines
from tests.nemo import evaluated_case as case
from tests.nemo.engines import Layout, layout
from tests.nemo.evaluated_case import STAGES, apart, wanted
from tests.unit.evals.conftest import build
from tests.unit.train import tiny

pytestmark = pytest.mark.slow
CASES = (
    ("llama", layout(2)),
    ("llama", layout(2, pp=2, vpp=2)),
    ("llama", layout(4, tp=2, cp=2, sequence_parallel=True)),
    ("tied", layout(2, pp=2)),
    ("pairs", layout(4, tp=2, cp=2, sequence_parallel=True)),
    ("ouro", layout(2, tp=2, sequence_parallel=True)),
    ("joint", layout(2, pp=2)),
    ("joint", layout(2, cp=2)),
    ("joint", layout(4, tp=2, ep=2, sequence_parallel=True)),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of prepared corpora."""
    return build(tmp_path_factory.mktemp("corpora"))


@pytest.mark.parametrize(("name", "where"), CASES, ids=lambda one: str(one))
def test_every_evaluation_is_the_torch_engines_up_to_roundings(name: str, where: Layout, root: Path) -> None:
    """Under the stage's rotary positions and under a parent's; every rank has the same numbers, to the last bit."""
    found = engines.call(where.ranks, case.by_nemo, engines.on_nemo(STAGES[name], where), root)
    assert len({json.dumps(one) for one in found}) == 1
    known, allowed = wanted(name, root)
    assert 0 < allowed < 1e-5  # of fp32 indeed: bf16's are a thousand times larger
    assert apart(case.leaves(found[0]), known) <= allowed


def short_chunks(stage: Stage, root: Path) -> tuple[list[dict[str, Any]], int]:
    """With logits of so few positions at a time that a row has several, and the most words that any product made."""
    from megatron.core import tensor_parallel

    from stages.engines.nemo import divided

    made, entropy = [0], tensor_parallel.vocab_parallel_cross_entropy

    def watched(logits: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        made.append(logits.numel())
        return entropy(logits, *given, **named)

    tensor_parallel.vocab_parallel_cross_entropy = watched
    divided.AT_ONCE = 24
    return case.by_nemo(stage, root), max(made)


def test_logits_of_a_row_are_never_whole(root: Path) -> None:
    found, most = engines.call(1, short_chunks, engines.on_nemo(STAGES["llama"]), root)[0]
    assert most == 24 * case.VOCAB < case.CONTEXT * case.VOCAB
    known, allowed = wanted("llama", root)
    assert apart(case.leaves(found), known) <= allowed


def left_as_it_was(stage: Stage, root: Path) -> tuple[bool, set[bool], set[bool]]:
    """Whether evaluations change no tensor and no mode of Megatron's model, under a parent's positions too; the modes
    of its modules meanwhile; and whether what a layer puts out has a graph behind it, which keeps all layers' tensors.
    """
    from stages.engines import place
    from stages.engines.nemo import causal, groups
    from stages.engines.nemo.divided import Divided
    from stages.engines.nemo.trainer import NemoTrainer

    with groups.met(stage, place.of(stage)) as group:
        trainer = NemoTrainer(stage, tiny.inputs(root), group)

        def now() -> list[Any]:
            inner = [module for chunk in trainer._chunks for module in causal.inner(chunk).modules()]
            tensors = [one.clone() for module in inner for one in (*module.parameters(False), *module.buffers(False))]
            turned = [module.inv_freq for module in inner if hasattr(module, "inv_freq")]
            return [[module.training for module in inner], *tensors, *turned]

        before, passes, modes, graphs = now(), Divided._passes, set[bool](), set[bool]()
        for module in (one for chunk in trainer._chunks for one in causal.inner(chunk).modules()):
            if type(module).__name__ == "TransformerLayer":
                module.register_forward_hook(lambda _, __, given: graphs.add(given[0].requires_grad))

        def watched(self: Divided, *given: Any, **named: Any) -> Any:
            modes.update(module.training for chunk in trainer._chunks for module in causal.inner(chunk).modules())
            return passes(self, *given, **named)

        Divided._passes = watched  # type: ignore[method-assign]
        evals.run(trainer.evaluated(), stage, Heldout(root), case.ELSEWHERE)
        (left, *tensors), (own, *others) = now(), before
        same = left == own and all(one.equal(other) for one, other in zip(tensors, others, strict=True))
        return same, modes, graphs


@pytest.mark.parametrize("name", ["joint", "ouro"])
def test_an_evaluation_leaves_the_model_as_it_was_and_keeps_nothing(name: str, root: Path) -> None:
    assert engines.call(1, left_as_it_was, engines.on_nemo(STAGES[name]), root) == [(True, {False}, {False})]

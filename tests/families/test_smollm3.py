"""SmolLM3, with and without layers that have no positions, beside transformers' SmolLM3ForCausalLM."""

from typing import ClassVar

import torch

from stages.models.build import initialise, make
from stages.spec.families.smollm3 import SmolLM3Model
from stages.spec.resolved_models import Rope
from tests.families.checks import Checks


class TestSmolLM3(Checks):
    MODEL = SmolLM3Model(
        family="smollm3", layers=3, hidden=32, ffn=48, heads=4, kv_heads=2, nope_every=2, vocab=61, norm_eps=1e-6,
        tied=True, init_std=0.02,
    )  # fmt: skip
    ROPES: ClassVar = {
        "plain": Rope(base=50_000.0, llama3=None, interpolation=1.0),
        "linear": Rope(base=50_000.0, llama3=None, interpolation=4.0),
    }
    REFUSED: ClassVar = {
        "no_rope_layer_interval": 3, "no_rope_layers": [1, 1, 1], "num_key_value_heads": 4, "mlp_bias": True,
        "attention_bias": True, "use_sliding_window": True, "tie_word_embeddings": False, "rope_theta": 1e6,
    }  # fmt: skip

    def test_every_second_layer_does_not_see_where_its_tokens_are(self) -> None:
        """Of one layer without positions, the last state is the same for any order of the tokens before it."""
        rope, orders = self.ROPES["plain"], torch.tensor([[3, 4, 5, 6], [5, 3, 4, 6]])
        for every, same in ((1, True), (2, False)):
            model = self.MODEL.model_copy(update={"layers": 1, "nope_every": every, "init_std": 0.1})
            module = make(model, rope, "cpu").eval()
            initialise(module, "llm", model, 1)
            first, other = module(orders, torch.arange(4).expand(2, -1), None, None)[:, -1]
            assert torch.allclose(first, other, atol=1e-6) == same

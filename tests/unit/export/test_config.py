"""config.json of a model that reads pictures: every figure under its published name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from stages.export import config
from tests.unit.train import tiny

VIT = tiny.VIT.model_copy(update={"layers": 3, "channels": 4, "norm_eps": 3e-5, "rope_base": 7_000.0})
PROJECTOR = tiny.PROJECTOR.model_copy(update={"merge": 5, "norm_eps": 2e-5})


def test_the_vision_tower_is_described_as_published() -> None:
    assert config._vision(VIT, merge=5) == {
        "model_type": "moonvit", "patch_size": 4, "init_pos_emb_height": 4, "init_pos_emb_width": 4,
        "num_attention_heads": 2, "num_hidden_layers": 3, "hidden_size": 16, "intermediate_size": 24,
        "merge_kernel_size": [5, 5], "num_channels": 4, "layer_norm_eps": 3e-5, "rotary_base": 7_000.0,
    }  # fmt: skip


def test_the_whole_has_a_part_for_each_module_and_our_own_values_once() -> None:
    made = tiny.make("joint")
    stage = made.model_copy(update={"modules": {**made.modules, "vit": VIT, "projector": PROJECTOR}})
    language = {"vocab_size": 50, "tie_word_embeddings": False, "hidden_size": 16, "stages": {"format": 1}}
    result: Any = SimpleNamespace(stage=stage, ref="tiny/box")
    tokens: Any = SimpleNamespace(roles=SimpleNamespace(image=17, bos=1))
    found = config._kimi_vl(result, language, tokens)
    assert found["text_config"] == {key: value for key, value in language.items() if key != "stages"}
    assert found["vision_config"] == config._vision(VIT, merge=5)
    assert found["projector_norm_eps"] == 2e-5
    assert (found["media_placeholder_token_id"], found["vocab_size"], found["tie_word_embeddings"]) == (17, 50, False)
    assert found["stages"]["format"] == 1
    assert found["stages"]["model"].keys() == {"llm", "vit", "projector"}

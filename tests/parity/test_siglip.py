import torch
from transformers import SiglipTextConfig, SiglipTextModel, SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipMultiheadAttentionPoolingHead

from tests.unit.models.vision import CONTRASTIVE, TEXT, made


def shake(module: torch.nn.Module) -> None:
    """Random values everywhere, biases and norms too: nothing may be hidden by ones and zeros."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.2)


def test_text_tower_equals_transformers_siglip_text_model() -> None:
    config = SiglipTextConfig(
        vocab_size=TEXT.vocab, hidden_size=TEXT.hidden, intermediate_size=TEXT.ffn, num_hidden_layers=TEXT.layers,
        num_attention_heads=TEXT.heads, max_position_embeddings=TEXT.length, layer_norm_eps=TEXT.norm_eps,
        projection_size=TEXT.hidden,
    )  # fmt: skip
    theirs = SiglipTextModel(config).eval()
    shake(theirs)
    ours = made(TEXT)
    ours.load_state_dict({name.removeprefix("text_model."): value for name, value in theirs.state_dict().items()})
    tokens = torch.randint(0, TEXT.vocab, (5, TEXT.length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (ours(tokens) - theirs(tokens).pooler_output).abs().max() <= 1e-5


def test_pooling_equals_transformers_siglip_head() -> None:
    config = SiglipVisionConfig(
        hidden_size=CONTRASTIVE.hidden, intermediate_size=CONTRASTIVE.ffn, num_attention_heads=CONTRASTIVE.heads,
        layer_norm_eps=CONTRASTIVE.norm_eps,
    )  # fmt: skip
    theirs = SiglipMultiheadAttentionPoolingHead(config).eval()
    shake(theirs)
    ours = made(CONTRASTIVE).head
    ours.load_state_dict(theirs.state_dict())
    features = torch.randn(3, 11, CONTRASTIVE.hidden, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (ours(features) - theirs(features)).abs().max() <= 1e-5

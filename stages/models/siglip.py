"""The parts of SigLIP (arXiv 2303.15343) besides its ViT: the text encoder and the contrastive side.

Names and computation are those of transformers' SiglipTextModel, SiglipMultiheadAttentionPoolingHead and SiglipModel
(logit_scale, logit_bias), so that released SigLIP weights load by name.

Shapes: B rows, T positions, S positions of a source, C its width, D the model's width, H heads, K a head's width; I
images of one length, L patches of each, N patches of all images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.layers import Layers
from stages.models.vision_packing import Grid, plan
from stages.spec.resolved_models import ContrastiveModel, TextTowerModel


class Attention(nn.Module):
    """Multi-head attention from queries [B, T, D] to a source [B, S, C], with biases."""

    def __init__(self, hidden: int, heads: int, source_hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(hidden, hidden)
        self.k_proj = nn.Linear(source_hidden, hidden)
        self.v_proj = nn.Linear(source_hidden, hidden)
        self.out_proj = nn.Linear(hidden, hidden)

    def forward(self, x_BTD: Tensor, source_BSC: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """`mask` [B, 1, 1, S] is True where the source may be seen; `causal` hides later positions."""
        q_BHTK, k_BHSK, v_BHSK = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q_proj(x_BTD), self.k_proj(source_BSC), self.v_proj(source_BSC))
        )
        out_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, attn_mask=mask, is_causal=causal)
        return self.out_proj(out_BHTK.transpose(1, 2).flatten(-2))


class Mlp(nn.Module):
    """Two linear layers with tanh-GELU between them."""

    def __init__(self, hidden: int, ffn: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden, ffn)
        self.fc2 = nn.Linear(ffn, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden] -> [..., hidden]."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class TextEmbeddings(nn.Module):
    """Token embedding plus learned position."""

    def __init__(self, vocab: int, length: int, hidden: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab, hidden)
        self.position_embedding = nn.Embedding(length, hidden)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Tokens [B, T], T at most the learned length -> [B, T, D]."""
        return self.token_embedding(tokens_BT) + self.position_embedding.weight[: tokens_BT.shape[1]]


class _Layer(nn.Module):
    def __init__(self, cfg: TextTowerModel) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.self_attn = Attention(cfg.hidden, cfg.heads, cfg.hidden)
        self.layer_norm2 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.mlp = Mlp(cfg.hidden, cfg.ffn)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.layer_norm1(x_BTD)
        x_BTD = x_BTD + self.self_attn(y_BTD, y_BTD)
        return x_BTD + self.mlp(self.layer_norm2(x_BTD))


class _Encoder(nn.Module):
    def __init__(self, cfg: TextTowerModel) -> None:
        super().__init__()
        self.layers = Layers(_Layer(cfg) for _ in range(cfg.layers))


class TextTower(nn.Module):
    """SigLIP's text encoder: no mask at all, the last position pools (padding included, as in SigLIP)."""

    def __init__(self, cfg: TextTowerModel) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(cfg.vocab, cfg.length, cfg.hidden)
        self.encoder = _Encoder(cfg)
        self.final_layer_norm = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.head = nn.Linear(cfg.hidden, cfg.hidden)

    def forward(self, captions_BT: Tensor) -> Tensor:
        """Embeddings [B, D] (not normalised) of captions [B, T], all ever given padded to the same T."""
        x_BTD = self.embeddings(captions_BT)
        x_BTD = self.encoder.layers.through(x_BTD)
        return self.head(self.final_layer_norm(x_BTD)[:, -1])


class AttentionPool(nn.Module):
    """SigLIP's pooling head (MAP): one learned query attends to an image's patches, then a residual MLP."""

    def __init__(self, cfg: ContrastiveModel) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, cfg.hidden))
        self.attention = nn.MultiheadAttention(cfg.hidden, cfg.heads, batch_first=True)
        self.layernorm = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.mlp = Mlp(cfg.hidden, cfg.ffn)

    def forward(self, features_ILD: Tensor) -> Tensor:
        """Patch features [I, L, D] -> [I, D]."""
        probe_I1D = self.probe.expand(features_ILD.shape[0], -1, -1)
        x_I1D, _ = self.attention(probe_I1D, features_ILD, features_ILD, need_weights=False)
        return (x_I1D + self.mlp(self.layernorm(x_I1D)))[:, 0]


class Contrastive(nn.Module):
    """What only the contrastive loss needs: the pooling head, t' (logit_scale) and b (logit_bias).

    Dropped after the stage: the released MoonViT has no pooling head.
    """

    def __init__(self, cfg: ContrastiveModel) -> None:
        super().__init__()
        self.head = AttentionPool(cfg)
        self.logit_scale = nn.Parameter(torch.full((1,), cfg.init_log_temperature))
        self.logit_bias = nn.Parameter(torch.full((1,), cfg.init_bias))

    def forward(self, features_ND: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Embeddings [images, D] (not normalised) of packed patch features [N, D]."""
        how = plan(grids, features_ND)
        rows_ND = how.sort(features_ND)
        return how.restore_images(torch.cat([self.head(group.of(rows_ND)) for group in how.groups]))

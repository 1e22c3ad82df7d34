"""CoCa-style training of MoonViT (arXiv 2504.07491, section 2.3): L = L_siglip + caption_weight * L_caption.

The contrastive loss needs the whole batch, the towers only fit a micro-batch. GradCache (arXiv 2101.06983) gets the
exact gradient in three passes: (1) `embed_images` and `embed_texts` per micro-batch without gradient, (2)
`whole_batch_gradient` on all of them, (3) per micro-batch again with gradient, backward of `surrogate` plus the
micro-batch's caption loss divided by the batch's number of caption tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models.layers import Layers
from stages.models.ops import head_loss
from stages.models.ops.head import whole
from stages.models.ops.labels import IGNORED
from stages.models.siglip import Attention, Contrastive, Mlp, TextEmbeddings
from stages.models.vision_packing import Grid, pad_by_image
from stages.spec.resolved_models import CaptionDecoderModel

ROWS = 1024  # images whose logits are held at once: a block of [ROWS, B]. Fixed, since it orders the sum over images


def embed_images(modules: nn.ModuleDict, pixels: Tensor, grids: Sequence[Grid]) -> tuple[Tensor, Tensor]:
    """Patch features [N, hidden] and unit-length embeddings [images, hidden] of packed images."""
    features = modules["vit"](pixels, grids)
    return features, F.normalize(modules["contrastive"](features, grids), dim=-1)


def embed_texts(modules: nn.ModuleDict, captions: Tensor) -> Tensor:
    """Unit-length embeddings [n, hidden] of captions [n, length]."""
    return F.normalize(modules["text_tower"](captions), dim=-1)


def siglip_loss(image_emb: Tensor, text_emb: Tensor, log_temperature: Tensor, bias: Tensor, first: int = 0) -> Tensor:
    """SigLIP's loss: -1/B sum_ij log sigmoid(z_ij (t x_i . y_j + b)), z = 1 on pairs and -1 elsewhere, t = exp(t').

    arXiv 2303.15343, section 3.2 and algorithm 1. text_emb [B, D] is the whole batch; image_emb [b, D] the images
    from number `first` on, so that blocks of images add up to the loss. Embeddings have unit length.
    """
    logits = log_temperature.exp() * image_emb @ text_emb.T + bias
    sign = torch.full_like(logits, -1.0)
    sign.diagonal(first).fill_(1.0)
    return -F.logsigmoid(sign * logits).sum() / text_emb.shape[0]


@dataclass(frozen=True)
class ContrastiveGradient:
    """The whole batch's contrastive loss and its gradients (same shapes as what they are gradients of)."""

    loss: Tensor
    image_emb: Tensor
    text_emb: Tensor
    logit_scale: Tensor
    logit_bias: Tensor


def whole_batch_gradient(image_emb: Tensor, text_emb: Tensor, contrastive: Contrastive) -> ContrastiveGradient:
    """SigLIP's loss over all B pairs, in blocks of images, with its gradients; B x D inputs need no graph.

    Touches no .grad: the caller owns how gradients are added up.
    """
    inputs = [
        part.detach().float().requires_grad_()
        for part in (image_emb, text_emb, contrastive.logit_scale, contrastive.logit_bias)
    ]
    image, text, scale, bias = inputs
    loss = torch.zeros((), device=image.device)
    gradients = [torch.zeros_like(part) for part in inputs]
    for first in range(0, image.shape[0], ROWS):
        with torch.enable_grad():
            part = siglip_loss(image[first : first + ROWS], text, scale, bias, first)
        loss += part.detach()
        for total, gradient in zip(gradients, torch.autograd.grad(part, inputs), strict=True):
            total += gradient
    return ContrastiveGradient(loss, *gradients)


def surrogate(embeddings: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient at the embeddings [b, D] is the cached one: backward continues into the tower."""
    return (embeddings * gradient).sum()


class _Layer(nn.Module):
    def __init__(self, cfg: CaptionDecoderModel) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.self_attn = Attention(cfg.hidden, cfg.heads, cfg.hidden)
        self.layer_norm2 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.cross_attn = Attention(cfg.hidden, cfg.heads, cfg.vision_hidden)
        self.layer_norm3 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.mlp = Mlp(cfg.hidden, cfg.ffn)

    def forward(self, x: Tensor, image: Tensor, mask: Tensor | None) -> Tensor:
        y = self.layer_norm1(x)
        x = x + self.self_attn(y, y, causal=True)
        x = x + self.cross_attn(self.layer_norm2(x), image, mask)
        return x + self.mlp(self.layer_norm3(x))


class CaptionDecoder(nn.Module):
    """A tiny causal language model that sees its image by cross-attention in every layer (CoCa, arXiv 2205.01917).

    Kimi-VL publishes neither size nor conditioning. Pre-norm decoder layers (arXiv 1706.03762); the output matrix is
    the token embedding.
    """

    def __init__(self, cfg: CaptionDecoderModel) -> None:
        super().__init__()
        self.cfg = cfg
        self.embeddings = TextEmbeddings(cfg.vocab, cfg.length, cfg.hidden)
        self.layers = Layers(_Layer(cfg) for _ in range(cfg.layers))
        self.final_layer_norm = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)

    def forward(self, tokens: Tensor, features: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Logits [n, T, vocab] for captions tokens [n, T] of n packed images with patch features [N, vision_hidden]."""
        return F.linear(self.states(tokens, features, grids), self.head)

    def states(self, tokens: Tensor, features: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Final normed states [n, T, hidden] of the same."""
        image, seen = pad_by_image(features, grids)
        mask = None if seen is None else seen[:, None, None, :]
        x = self.embeddings(tokens)
        x = self.layers.through(x, image, mask)
        return self.final_layer_norm(x)

    @property
    def head(self) -> Tensor:
        """The output matrix [vocab, hidden]."""
        return self.embeddings.token_embedding.weight


def caption_loss(
    decoder: CaptionDecoder, features: Tensor, grids: Sequence[Grid], captions: Tensor, lengths: Tensor
) -> Tensor:
    """Sum of -log p over the caption tokens after the first (nats).

    captions [n, length] are padded, `lengths` [n] are their true lengths, the begin token included: it is only
    read; the end token is predicted. The caller, who has the lengths on the host, divides by the whole batch's count.
    """
    states = decoder.states(captions[:, :-1], features, grids).flatten(0, 1)
    place = torch.arange(1, captions.shape[1], device=captions.device)
    labels = captions[:, 1:].masked_fill(place >= lengths[:, None], IGNORED).flatten()
    if whole(len(states), len(decoder.head)):
        logits = F.linear(states, decoder.head).float()
        return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return head_loss(states, decoder.head, labels)

"""CoCa-style training of MoonViT (arXiv 2504.07491, section 2.3): L = L_siglip + caption_weight * L_caption.

The contrastive loss needs the whole batch, the towers only fit a micro-batch. GradCache (arXiv 2101.06983) gets the
exact gradient in three passes: (1) `embed_images` and `embed_texts` per micro-batch without gradient, (2)
`whole_batch_gradient` on all of them, (3) per micro-batch again with gradient, backward of `surrogate` plus the
micro-batch's caption loss divided by the batch's number of caption tokens.

Shapes: B pairs of the whole batch, b of a micro-batch or of a block; N patches of all images and C numbers of a patch;
L patches of the longest image; T positions of a caption, M of all captions; D a width, V the vocabulary.
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


def embed_images(modules: nn.ModuleDict, pixels_NC: Tensor, grids: Sequence[Grid]) -> tuple[Tensor, Tensor]:
    """Patch features [N, D] and unit-length embeddings [images, D] of packed images."""
    features_ND = modules["vit"](pixels_NC, grids)
    return features_ND, F.normalize(modules["contrastive"](features_ND, grids), dim=-1)


def embed_texts(modules: nn.ModuleDict, captions_bT: Tensor) -> Tensor:
    """Unit-length embeddings [b, D] of captions [b, T]."""
    return F.normalize(modules["text_tower"](captions_bT), dim=-1)


def siglip_loss(
    image_emb_bD: Tensor, text_emb_BD: Tensor, log_temperature: Tensor, bias: Tensor, first: int = 0
) -> Tensor:
    """SigLIP's loss: -1/B sum_ij log sigmoid(z_ij (t x_i . y_j + b)), z = 1 on pairs and -1 elsewhere, t = exp(t').

    arXiv 2303.15343, section 3.2 and algorithm 1. `text_emb_BD` is the whole batch; `image_emb_bD` the images
    from number `first` on, so that blocks of images add up to the loss. Embeddings have unit length.
    """
    logits_bB = log_temperature.exp() * image_emb_bD @ text_emb_BD.T + bias
    sign_bB = torch.full_like(logits_bB, -1.0)
    sign_bB.diagonal(first).fill_(1.0)
    return -F.logsigmoid(sign_bB * logits_bB).sum() / text_emb_BD.shape[0]


@dataclass(frozen=True)
class ContrastiveGradient:
    """The whole batch's contrastive loss and its gradients (same shapes as what they are gradients of)."""

    loss: Tensor
    image_emb: Tensor
    text_emb: Tensor
    logit_scale: Tensor
    logit_bias: Tensor


def whole_batch_gradient(image_emb_BD: Tensor, text_emb_BD: Tensor, contrastive: Contrastive) -> ContrastiveGradient:
    """SigLIP's loss over all B pairs, in blocks of images, with its gradients; B x D inputs need no graph.

    Touches no .grad: the caller owns how gradients are added up.
    """
    inputs = [
        part.detach().float().requires_grad_()
        for part in (image_emb_BD, text_emb_BD, contrastive.logit_scale, contrastive.logit_bias)
    ]
    image_BD, text_BD, scale, bias = inputs
    loss = torch.zeros((), device=image_BD.device)
    gradients = [torch.zeros_like(part) for part in inputs]
    for first in range(0, image_BD.shape[0], ROWS):
        with torch.enable_grad():
            part = siglip_loss(image_BD[first : first + ROWS], text_BD, scale, bias, first)
        loss += part.detach()
        for total, gradient in zip(gradients, torch.autograd.grad(part, inputs), strict=True):
            total += gradient
    return ContrastiveGradient(loss, *gradients)


def surrogate(embeddings_bD: Tensor, gradient_bD: Tensor) -> Tensor:
    """A scalar whose gradient at the embeddings is the cached one: backward continues into the tower."""
    return (embeddings_bD * gradient_bD).sum()


class _Layer(nn.Module):
    def __init__(self, cfg: CaptionDecoderModel) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.self_attn = Attention(cfg.hidden, cfg.heads, cfg.hidden)
        self.layer_norm2 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.cross_attn = Attention(cfg.hidden, cfg.heads, cfg.vision_hidden)
        self.layer_norm3 = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)
        self.mlp = Mlp(cfg.hidden, cfg.ffn)

    def forward(self, x_bTD: Tensor, image_bLD: Tensor, mask: Tensor | None) -> Tensor:
        y_bTD = self.layer_norm1(x_bTD)
        x_bTD = x_bTD + self.self_attn(y_bTD, y_bTD, causal=True)
        x_bTD = x_bTD + self.cross_attn(self.layer_norm2(x_bTD), image_bLD, mask)
        return x_bTD + self.mlp(self.layer_norm3(x_bTD))


class CaptionDecoder(nn.Module):
    """A tiny causal language model that sees its image by cross-attention in every layer (CoCa, arXiv 2205.01917).

    Kimi-VL publishes neither size nor conditioning. Pre-norm decoder layers (arXiv 1706.03762); the output matrix is
    the token embedding.
    """

    def __init__(self, cfg: CaptionDecoderModel) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(cfg.vocab, cfg.length, cfg.hidden)
        self.layers = Layers(_Layer(cfg) for _ in range(cfg.layers))
        self.final_layer_norm = nn.LayerNorm(cfg.hidden, eps=cfg.norm_eps)

    def forward(self, tokens_bT: Tensor, features_ND: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Logits [b, T, V] for captions of b packed images with patch features [N, D of the vision tower]."""
        return F.linear(self.states(tokens_bT, features_ND, grids), self.head)

    def states(self, tokens_bT: Tensor, features_ND: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Final normed states [b, T, D] of the same."""
        image_bLD, seen_bL = pad_by_image(features_ND, grids)
        mask = None if seen_bL is None else seen_bL[:, None, None, :]
        x_bTD = self.embeddings(tokens_bT)
        x_bTD = self.layers.through(x_bTD, image_bLD, mask)
        return self.final_layer_norm(x_bTD)

    @property
    def head(self) -> Tensor:
        """The output matrix [V, D]."""
        return self.embeddings.token_embedding.weight


def caption_loss(
    decoder: CaptionDecoder, features_ND: Tensor, grids: Sequence[Grid], captions_bT: Tensor, lengths_b: Tensor
) -> Tensor:
    """Sum of -log p over the caption tokens after the first (nats).

    Captions are padded, `lengths_b` are their true lengths, the begin token included: it is only
    read; the end token is predicted. The caller, who has the lengths on the host, divides by the whole batch's count.
    """
    states_MD = decoder.states(captions_bT[:, :-1], features_ND, grids).flatten(0, 1)
    place = torch.arange(1, captions_bT.shape[1], device=captions_bT.device)
    labels_M = captions_bT[:, 1:].masked_fill(place >= lengths_b[:, None], IGNORED).flatten()
    if whole(len(states_MD), len(decoder.head)):
        logits_MV = F.linear(states_MD, decoder.head).float()
        return F.cross_entropy(logits_MV, labels_M, ignore_index=IGNORED, reduction="sum")
    return head_loss(states_MD, decoder.head, labels_M)

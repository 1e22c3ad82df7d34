"""MoonViT against a small independent reading of the published code (modeling_kimi_vl.py), with complex numbers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.vision_packing import pack
from tests.rounding import noise
from tests.unit.models.vision import SIZES, VIT, made, pictures


def reference(weights: dict[str, Tensor], pixels: Tensor, grids: list[tuple[int, int]]) -> Tensor:
    """One long row, a block-diagonal mask, interpolation by torch, rotation by complex multiplication."""
    heads, dim = VIT.heads, VIT.hidden // VIT.heads
    table = weights["patch_embed.pos_emb.weight"].permute(2, 0, 1)[None]
    kernel = weights["patch_embed.proj.weight"].view(VIT.hidden, VIT.channels, VIT.patch, VIT.patch)
    patches = pixels.view(-1, VIT.channels, VIT.patch, VIT.patch)
    x = F.conv2d(patches, kernel, weights["patch_embed.proj.bias"]).flatten(1)
    x = x + torch.cat([F.interpolate(table, size=g, mode="bicubic")[0].permute(1, 2, 0).flatten(0, 1) for g in grids])

    frequency = 1.0 / (VIT.rope_base ** (torch.arange(0, dim, 4).float() / dim))
    turns = []
    for h, w in grids:
        flat = torch.arange(h * w)
        both = torch.stack([torch.outer(flat % w, frequency), torch.outer(flat // w, frequency)], dim=-1).flatten(1)
        turns.append(torch.polar(torch.ones_like(both), both))
    cis = torch.cat(turns)[:, None]
    image = torch.repeat_interleave(torch.arange(len(grids)), torch.tensor([h * w for h, w in grids]))
    hidden = image[:, None] != image[None, :]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (VIT.hidden,), weights[f"{name}.weight"], weights[f"{name}.bias"], VIT.norm_eps)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def turn(x: Tensor) -> Tensor:
        return torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * cis).flatten(-2)

    for i in range(VIT.layers):
        at = f"encoder.blocks.{i}"
        q, k, v = linear(norm(x, f"{at}.norm0"), f"{at}.wqkv").view(-1, 3, heads, dim).unbind(1)
        scores = torch.einsum("qhd,khd->hqk", turn(q), turn(k)) / dim**0.5
        seen = torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, -torch.inf).softmax(-1), v)
        x = x + linear(seen.flatten(1), f"{at}.wo")
        y = F.gelu(linear(norm(x, f"{at}.norm1"), f"{at}.mlp.fc0"), approximate="tanh")
        x = x + linear(y, f"{at}.mlp.fc1")
    return norm(x, "encoder.final_layernorm")


def test_features_equal_the_published_computation() -> None:
    vit = made(VIT)
    for parameter in vit.parameters():  # biases and norms too: nothing may be hidden by ones and zeros
        torch.nn.init.normal_(parameter, mean=0.1, std=0.3)
    pixels, grids = pack(pictures(0), VIT.patch)
    assert grids == SIZES
    with torch.no_grad():
        found, expected = vit(pixels, grids), reference(vit.state_dict(), pixels, grids)
    assert (found - expected).abs().max() <= noise(vit, lambda: vit(pixels, grids), VIT.ffn)

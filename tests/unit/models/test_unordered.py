"""Each spelling of an operation whose order a GPU chooses is seen, called or not."""

from __future__ import annotations

import ast

import pytest

from tests.unit.models.unordered import named


@pytest.mark.parametrize(("line", "name"), [
    ("x.index_add(0, i, y)", "index_add"),
    ("torch.ops.aten.index_add_.default(x, 0, i, y)", "index_add"),
    ("torch._unsafe_index_put(x, [i], y, True)", "index_put"),
    ("torch._C._nn.upsample_bilinear2d(x, size, False)", "upsample_bilinear2d"),
    ("add = x.index_add_", "index_add"),
    ("list(map(torch.cumsum, x))", "cumsum"),
    ("getattr(x, 'scatter_add_')(0, i, y)", "scatter_add"),
    ("from torch import index_add as plus", "index_add"),
    ("from torch.nn import Upsample", "upsample"),
    ("x.index_reduce_(0, i, y, 'prod')", "index_reduce"),
    ("x.put_along_dim_(i, y, 0)", "put_along_dim"),
    ("x.take(i)", "take"),
    ("x.kthvalue(3)", "kthvalue"),
    ("nn.UpsamplingBilinear2d(3)", "upsampling_bilinear2d"),
    ("torch.grid_sampler_2d(x, grid, 0, 0, False)", "grid_sampler_2d"),
    ("nn.NLLLoss()", "nll_loss"),
    ("torch._C._nn.nll_loss2d(x, y)", "nll_loss2d"),
    ("nn.EmbeddingBag(3, 3)", "embedding_bag"),
    ("F.adaptive_max_pool3d(x, 2)", "adaptive_max_pool3d"),
    ("nn.FractionalMaxPool2d(2, 2)", "fractional_max_pool2d"),
    ("nn.MaxUnpool1d(2)", "max_unpool1d"),
    ("nn.ReplicationPad3d(1)", "replication_pad3d"),
    ("F.pad(x, (1, 1), 'reflect')", "pad"),
    ("F.pad(x, (1, 1), mode=how)", "pad"),
    ("nn.Dropout2d(0.1)", "dropout2d"),
    ("nn.RReLU()", "r_re_lu"),
    ("torch.rand_like(x)", "rand_like"),
    ("dist.all_reduce(x)", "dist.all_reduce"),
    ("torch.distributed.reduce_scatter_tensor(x, y)", "dist.reduce_scatter_tensor"),
])  # fmt: skip
def test_every_spelling_is_seen(line: str, name: str) -> None:
    assert [found for node in ast.walk(ast.parse(line)) for found in named(node)] == [name]

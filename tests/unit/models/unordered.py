"""Names of operations of torch whose result, or gradient, has an order that a GPU chooses, or is drawn at random.

They are those that torch documents under `torch.use_deterministic_algorithms`, and others whose kernels for CUDA say
that they are not deterministic (`alertNotDeterministic` in torch's sources). A name stands for all its spellings: in
place, as a class of torch.nn, by number of dimensions, by torch.ops and torch._C.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

WORDS = r"""
    index_(add|copy|put|reduce|select) | put | take | (take|put)_along_dim | gather | (masked_)?scatter(_add|_reduce)?
    | repeat_interleave | cumsum | cumprod | logcumsumexp | bincount | histc | median | nanmedian | kthvalue | unique
    | interpolate | upsampl(e|ing)\w* | grid_sample(r\w*)? | embedding_bag | nll_loss\w* | ctc_loss | cross_entropy
    | cross_entropy_loss | (max|avg)_pool3d\w* | (adaptive|fractional)_(max|avg)_pool\dd\w* | max_unpool\dd
    | max_pool2d_with_indices | (reflection|replication)_pad\dd | unfold | fold | to_sparse\w* | sparse_coo_tensor
    | (feature_)?(alpha_)?dropout(\dd)? | r_?re_?lu(_with_noise)? | bernoulli | multinomial | normal | uniform
    | rand(n|int|perm)?(_like)?
"""
UNORDERED = re.compile(WORDS, re.VERBOSE)
ADDED_BY_LIBRARIES = {"all_reduce", "reduce", "reduce_scatter", "reduce_scatter_tensor", "all_reduce_coalesced"}
# Where the words of a class's name end: AdaptiveAvgPool2d, NLLLoss.
BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def plain(name: str) -> str | None:
    """The operation that a name of torch stands for, if it is one of these."""
    found = BORDER.sub("_", name).lower().rstrip("_").removeprefix("_unsafe_")
    return found if UNORDERED.fullmatch(found) else None


def named(node: ast.AST) -> Iterator[str]:
    """What a node names of them: called, given to another function, or imported."""
    match node:
        case ast.Attribute(value=ast.Name(id="dist") | ast.Attribute(attr="distributed"), attr=name) if (
            name in ADDED_BY_LIBRARIES
        ):
            yield f"dist.{name}"
        case ast.Attribute(attr=name) if (found := plain(name)) is not None:
            yield found
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
            yield from [found for found in [plain(name)] if found is not None]
        case ast.Call(func=ast.Attribute(attr="pad")) if not _with_zeros(node):
            yield "pad"
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "torch":
            yield from (found for alias in node.names if (found := plain(alias.name)) is not None)


def _with_zeros(call: ast.Call) -> bool:
    """Whether padding copies nothing of the tensor: copies are added up in its gradient."""
    modes = [*call.args[2:3], *(one.value for one in call.keywords if one.arg == "mode")]
    return all(isinstance(mode, ast.Constant) and mode.value == "constant" for mode in modes)

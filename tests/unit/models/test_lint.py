"""What runs in a step on a GPU has one result, and waits for nothing but the step's loss and norm.

Both are read off the code of models/ and train/: what would break them is known by name (`unordered`, and WAITING). A
use of one is allowed below, with the reason why it keeps the promise; an allowance that nothing uses is a mistake too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import stages
from tests.unit.models import unordered

ROOT = Path(stages.__file__).parent
# What no step runs: files and checkpoints, what is built once, what is reported between steps.
NO_STEP = (
    "models/hf", "models/tensor_file", "models/build", "models/merge", "models/upcycle", "models/ops/apex_build",
    "models/ops/apex_setup", "train/checkpoint", "train/finite", "train/progress", "train/metrics", "train/stopping",
)  # fmt: skip

# Ranks wait for each other, and for the device with them: only the order of their sums is looked at.
RANKS = ("train/ranks", "train/collectives", "train/shards")

# Calls for which the host waits: values are read back, or a shape depends on them, or memory is copied unpinned.
WAITING = {
    "item", "tolist", "cpu", "numpy", "nonzero", "argwhere", "masked_select", "unique", "unique_consecutive",
    "bincount", "synchronize", "allclose", "equal", "is_nonzero", "tensor", "as_tensor", "from_numpy", "asarray",
    "isin", "cuda",
}  # fmt: skip
CONVERSIONS = {"int", "float", "bool"}
COPIES = {"to", "new_tensor"}


def uses(path: Path) -> Iterator[tuple[str, str]]:
    """(function, operation) of everything in a file that has to be allowed."""
    yield from _within(ast.parse(path.read_text()), "")


def _within(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        inside = function
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inside = f"{function}.{child.name}".removeprefix(".")
        yield from ((function, name) for name in unordered.named(child))
        if isinstance(child, ast.Call):
            yield from ((function, name) for name in _called(child))
        elif isinstance(child, ast.Subscript) and _is_mask(child.slice):
            yield function, "[mask]"
        elif isinstance(child, ast.ImportFrom) and (child.module or "").startswith("torch"):
            yield from ((function, alias.name) for alias in child.names if alias.name in WAITING)
        yield from ((function, "truth") for _ in range(_asked(child)))
        yield from _within(child, inside)


def _asked(node: ast.AST) -> int:
    """How often a branch is taken by `x.any()` or `x.all()`, which reads x back."""
    tests = [node.test] if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert) else []
    tests += node.ifs if isinstance(node, ast.comprehension) else []
    calls = [part.func for test in tests for part in ast.walk(test) if isinstance(part, ast.Call)]
    return sum(isinstance(call, ast.Attribute) and call.attr in ("any", "all") for call in calls)


def _called(call: ast.Call) -> Iterator[str]:
    match call.func:
        case ast.Attribute(attr=name):
            plain = name if name.startswith("_") else name.rstrip("_")
            if plain in WAITING and unordered.plain(name) is None:
                yield plain
            elif plain in COPIES and any("device" in ast.unparse(part) for part in [*call.args, *call.keywords]):
                yield "to device"
        case ast.Name(id=name) if name in CONVERSIONS and not all(isinstance(part, ast.Constant) for part in call.args):
            yield name


def _is_mask(index: ast.expr) -> bool:
    """An index whose number of places depends on values: a comparison, or its negation."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    return any(isinstance(part, ast.Compare) or (isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.Invert))
               for part in parts)  # fmt: skip


def code() -> list[Path]:
    files = [path for folder in ("models", "train") for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in files if not str(path.relative_to(ROOT)).startswith(NO_STEP)]


def found() -> set[str]:
    """Each use as "file function operation"."""
    seen = set()
    for path in code():
        name = str(path.relative_to(ROOT).with_suffix(""))
        for function, operation in uses(path):
            if unordered.plain(operation) or operation.startswith("dist.") or not name.startswith(RANKS):
                seen.add(f"{name} {function} {operation}")
    return seen


# Reason -> what it allows.
REASONS = {
    "of numpy arrays or plain numbers, on the host": (
        "models/documents Documents.layout unique",
        "models/documents Documents.spans int",
        "models/context_parallel Stretch.__init__ [mask]",
        "models/context_parallel Stretch.__init__ int",
        "models/context_parallel Stretch._placed int",
        "models/kimi_vl places cumsum",
        "models/kimi_vl places truth",
        "models/transfer positions truth",
        "models/vision_packing _plan cumsum",
        "models/ops/multi_tensor torch_adamw float",
        "train/objectives/base collate bool",
        "models/release_values equal bool",
        "train/objectives/causal Causal.whole_values float",
        "train/objectives/preference answers [mask]",
        "train/objectives/preference answers bincount",
        "train/objectives/preference answers int",
        "train/objectives/preference answers tolist",
        "train/objectives/coca Coca._prepare int",
        "train/objectives/coca Coca.part float",
        "train/loop record int",
    ),
    "no operation of torch: a step prepared ahead, checksums": (
        "train/objectives/causal Causal.begin take",
        "train/objectives/coca Coca.begin take",
        "train/replicated Replicated.gradients take",
    ),
    "of integers and of flags: exact in every order": (
        "train/ranks Ranks.all_reduce dist.all_reduce",
        "train/ranks Ranks.count dist.all_reduce",
    ),
    "makes a tensor on the host, which goes to the device through models.transfer": (
        "models/rotary Rotary.inv_freq tensor",
        "models/vision_packing _plan from_numpy",
        "models/vision_packing _plan tensor",
        "models/vision_packing pack from_numpy",
        "models/vision_packing pad_by_image tensor",
        "train/objectives/coca Coca._pairs from_numpy",
    ),
    "of a batch or a part of one, whose tensors go to the device through models.transfer": (
        "models/kimi_vl Batch.to to device",
        "train/objectives/base Rows.to to device",
        "train/objectives/causal Causal.rows to device",
        "train/objectives/coca Coca.begin to device",
    ),
    "the one way to the device: from pinned memory, queued": (
        "models/transfer to_device from_numpy",
        "models/transfer to_device to device",
    ),
    "the one wait of a step: its loss and norm, which decide whether the optimizer may move": (
        "train/replicated Replicated.gradients tolist",
    ),
    "checksums: on a CPU, or where the step has waited for its loss anyway; the tables are made once": (
        "train/checksum _factors from_numpy",
        "train/checksum _factors to device",
        "train/checksum _table from_numpy",
        "train/checksum _table to device",
        "train/checksum of_pieces int",
        "train/checksum pieces int",
        "train/checksum pieces numpy",
        "train/checksum signed from_numpy",
        "train/state_sums StateSums._summed tolist",
    ),
    "what several ranks compare: on a CPU, in every tenth step of a GPU, before and after checkpoints": (
        "train/alike Alike.check int",
        "train/checksum words tolist",
        "train/resumed check tolist",
    ),
    "of the optimizer's state, when a checkpoint is written or read": (
        "train/optimizer Optimizer._counts tensor",
        "train/optimizer Optimizer.load int",
    ),
    "expert by expert, as on a CPU: a GPU does so in fp32 alone, for which torch's grouped product waits as well": (
        "models/experts by_expert tolist",
    ),
    "not differentiated: a read at given places": (
        "models/common _TakeRows.forward index_select",
        "models/common _TakeRows.backward index_select",
        "models/experts _lay_out index_select",
        "models/ops/functional _CrossEntropy.forward gather",
        "models/ops/head_pieces softmax_of gather",
        "models/ops/head_chunk softmax_rows gather",
    ),
    "no place is named twice, so no entry is a sum: every order gives it the same bits": (
        "models/experts _lay_out index_copy",
        "models/ops/entries entries index_select",
        "models/ops/entries replace_entries index_copy",
        "models/ops/entries subtract_entries index_add",
        "models/transfer pick index_select",
    ),
    "sums of integers, which are exact in every order": (
        "models/experts _lay_out cumsum",
        "models/experts tally scatter_add",
    ),
    "by a plain number: torch makes it of expand, whose gradient is a sum along a dimension": (
        "models/attention in_rows repeat_interleave",
        "models/experts Experts.forward repeat_interleave",
    ),
    "of a constant on the host, never differentiated; what is, are products with the matrix that it gives": (
        "models/moonvit_positions _interpolation interpolate",
    ),
    "of logits [n, words]: torch documents the loss of images alone (NLLLoss2d) as without a deterministic form": (
        "models/coca caption_loss cross_entropy",
    ),
    "the thread that writes a checkpoint, and the end of a run; an error code": (
        "train/snapshot Snapshot.close int",
        "train/snapshot Snapshot.close synchronize",
        "train/snapshot Snapshot.wait synchronize",
        "train/snapshot _pin int",
    ),
    "at a checkpoint of several ranks: what they gather must not pile up on the first's GPU": (
        "train/snapshot Snapshot.take synchronize",
    ),
    "once a process: whether Triton's kernels run here": ("models/ops/choice _triton_works equal",),
    "NVIDIA Apex's kernel: each row of logits is one thread block's, in both passes": (
        "models/ops/functional cross_entropy cross_entropy",
    ),
}  # fmt: skip
ALLOWED = {use for allowed in REASONS.values() for use in allowed}


def test_every_operation_that_could_break_a_step_is_known_and_has_a_reason() -> None:
    unknown = sorted(found() - ALLOWED)
    assert not unknown, (
        "A GPU may compute these in any order, or the host waits for it. Use another operation, or "
        f"allow it in {Path(__file__).name} with the reason why it does neither:\n" + "\n".join(unknown)
    )


def test_no_allowance_is_left_over() -> None:
    assert not sorted(ALLOWED - found())
    assert len(ALLOWED) == sum(map(len, REASONS.values()))


@pytest.mark.parametrize(("line", "name"), [
    ("x.index_add_(0, i, y)", "index_add"),
    ("torch.scatter_add(x, 1, i, y)", "scatter_add"),
    ("F.interpolate(x, 3)", "interpolate"),
    ("x.repeat_interleave(n)", "repeat_interleave"),
    ("x[y > 0]", "[mask]"),
    ("y = 1 if x.all() else 2", "truth"),
    ("while not (x > 0).any(): pass", "truth"),
    ("x[0, ~known]", "[mask]"),
    ("x.sum().item()", "item"),
    ("bool(x.any())", "bool"),
    ("int(x.max())", "int"),
    ("torch.tensor(5.0, device=x.device)", "tensor"),
    ("x.to(device)", "to device"),
    ("from torch.nn.functional import interpolate", "interpolate"),
    ("x.to(y.device, non_blocking=True)", "to device"),
])  # fmt: skip
def test_what_breaks_a_step_is_seen(line: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "step.py"
    path.write_text(f"class A:\n    def step(self):\n        {line}\n")
    assert ("A.step", name) in set(uses(path))


@pytest.mark.parametrize("line", [
    "x.to(torch.float32)", "x[:, 1:]", "x[i]", "x.float()", "int('7')", "x.sum(0)", "F.pad(x, (0, 3))",
    "F.pad(x, (0, 3), mode='constant', value=1.0)", "ranks.all_reduce(x)", "functools.reduce(add, x)",
])  # fmt: skip
def test_what_is_harmless_is_not(line: str, tmp_path: Path) -> None:
    path = tmp_path / "step.py"
    path.write_text(f"def step():\n    {line}\n")
    assert not set(uses(path))

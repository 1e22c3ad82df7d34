"""SwiGLU's product, rotary positions and the loss's softmax, each as one kernel of Triton (triton-lang.org).

Torch's own operations read and write their operands once for every step of a formula. These read each number once
(logits twice), compute in fp32 and round once. No two programs write one number, so results have the same bits in every
run. PyTorch's builds for GPUs bring Triton.

Arguments are pointers, counts and strides, in elements; sizes in capitals are fixed when a kernel is compiled.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads a kernel's source: its arguments have no types of Python.
import triton
import triton.language as tl

LOWEST = tl.constexpr(-3.0e38)  # below any logit in fp32, and finite, so that it may be subtracted from itself


@triton.jit
def silu_mul(gate, up, out, numbers, BLOCK: tl.constexpr):
    """out = silu(gate) * up, of `numbers` elements."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < numbers
    x = tl.load(gate + at, mask=there, other=0.0).to(tl.float32)
    y = tl.load(up + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, x * tl.sigmoid(x) * y, mask=there)


@triton.jit
def silu_mul_backward(grad, gate, up, grad_gate, grad_up, numbers, BLOCK: tl.constexpr):
    """Gradients of `silu_mul` by both factors: d silu(x) / dx = s + x s (1 - s), where s is x's sigmoid."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < numbers
    g = tl.load(grad + at, mask=there, other=0.0).to(tl.float32)
    x = tl.load(gate + at, mask=there, other=0.0).to(tl.float32)
    y = tl.load(up + at, mask=there, other=0.0).to(tl.float32)
    s = tl.sigmoid(x)
    tl.store(grad_gate + at, g * y * (s + x * s * (1 - s)), mask=there)
    tl.store(grad_up + at, g * x * s, mask=there)


@triton.jit
def rotate(
    x, cos, sin, out, positions,
    x_row, x_position, x_head, x_pair, x_second, table_row, table_position, table_head, out_pair, out_second,
    SIGN: tl.constexpr, HEADS: tl.constexpr, PAIRS: tl.constexpr, AT_ONCE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Pairs of every head of one position, turned by its angles (SIGN 1), or against them (-1).

    x [rows, positions, HEADS, PAIRS], whose second coordinates are `x_second` further, AT_ONCE heads at a time; out has
    the same shape, and is contiguous except for where a head's coordinates are; the tables have the shape of x.
    """
    place = tl.program_id(0).to(tl.int64)
    row, position = place // positions, place % positions
    pair = tl.arange(0, LANES)[None, :]
    for first in range(0, HEADS, AT_ONCE):
        head = (first + tl.arange(0, AT_ONCE)[:, None]).to(tl.int64)  # heads may be outside positions, far apart
        there = (head < HEADS) & (pair < PAIRS)
        angle = row * table_row + position * table_position + head * table_head + pair
        c, s = tl.load(cos + angle, mask=there, other=0.0), SIGN * tl.load(sin + angle, mask=there, other=0.0)
        read = x + row * x_row + position * x_position + head * x_head + pair * x_pair
        a = tl.load(read, mask=there, other=0.0).to(tl.float32)
        b = tl.load(read + x_second, mask=there, other=0.0).to(tl.float32)
        write = out + (place * HEADS + head) * 2 * PAIRS + pair * out_pair
        tl.store(write, a * c - b * s, mask=there)
        tl.store(write + out_second, b * c + a * s, mask=there)


@triton.jit
def softmax_rows(logits, labels, slopes, losses, WORDS: tl.constexpr, SLOPES: tl.constexpr, BLOCK: tl.constexpr):
    """Of one row of logits [WORDS], fp32: the loss of its label, in nats, and its slopes p, of the label p - 1.

    The label's slope is what the other words' probabilities add up to: near p = 1, nothing is left of p - 1. One pass
    for highest logits and sums of exponentials relative to them (Milakov and Gimelshein, arXiv 1805.02867), of each
    lane of a block by itself; one for the slopes.
    """
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    label, begin = tl.load(labels + row), logits + row * WORDS
    highest = tl.full([BLOCK], LOWEST, tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    for first in range(0, WORDS, BLOCK):
        word = first + lane
        z = tl.load(begin + word, mask=word < WORDS, other=-float("inf"))
        z = tl.where(word == label, -float("inf"), z)
        higher = tl.maximum(highest, z)
        sums = sums * tl.exp(highest - higher) + tl.exp(z - higher)
        highest = higher
    picked = tl.load(begin + label)
    top = tl.maximum(tl.max(highest, 0), picked)
    others = tl.sum(sums * tl.exp(highest - top), 0)
    whole = others + tl.exp(picked - top)
    tl.store(losses + row, tl.log(whole) + (top - picked))
    if SLOPES:
        for first in range(0, WORDS, BLOCK):
            word = first + lane
            z = tl.load(begin + word, mask=word < WORDS, other=-float("inf"))
            slope = tl.where(word == label, -others, tl.exp(z - top)) / whole
            tl.store(slopes + row * WORDS + word, slope, mask=word < WORDS)

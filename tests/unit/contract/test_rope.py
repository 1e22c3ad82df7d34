import math
import warnings

import pytest

from stages.contract import rope
from stages.spec.resolved_models import Llama3Scaling, Rope, Yarn

LLAMA31 = Rope(base=500_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192), interpolation=1.0)
LLAMA31_1M = LLAMA31.model_copy(update={"interpolation": 8.0})


def plain(base: float, interpolation: float = 1.0) -> Rope:
    return Rope(base=base, llama3=None, interpolation=interpolation)


def test_plain_frequencies() -> None:
    assert rope.inv_freq(plain(10_000.0), 4) == [1.0, 10_000.0**-0.5]


def test_interpolation_stretches_every_wavelength() -> None:
    assert rope.longest_wavelength(plain(10_000.0, 8.0), 64) == pytest.approx(
        8 * rope.longest_wavelength(plain(10_000.0), 64), rel=1e-15
    )


def test_llama31_leaves_fast_pairs_alone_and_divides_slow_ones_by_eight() -> None:
    unscaled, scaled = rope.inv_freq(plain(500_000.0), 128), rope.inv_freq(LLAMA31, 128)
    assert scaled[0] == unscaled[0]
    assert scaled[-1] == unscaled[-1] / 8
    assert all(slow / 8 <= value <= slow for slow, value in zip(unscaled, scaled, strict=True))
    assert LLAMA31.llama3 is not None
    assert rope.bands(LLAMA31.llama3, 500_000.0, 128) == (29, 6, 29)


def test_llama31_equals_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    config = transformers.LlamaConfig(
        hidden_size=4096, num_attention_heads=32, rope_theta=500_000.0, max_position_embeddings=131_072,
        rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )  # fmt: skip
    theirs, attention = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    assert attention == 1.0
    assert theirs.tolist() == pytest.approx(rope.inv_freq(LLAMA31, 128), rel=1e-6)


def test_longrope_factors_reproduce_llama3_with_interpolation_in_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    factors = rope.longrope_factors(LLAMA31_1M, 128)
    config = transformers.LlamaConfig(
        hidden_size=4096, num_attention_heads=32, rope_theta=500_000.0, max_position_embeddings=1_048_576,
        rope_scaling={
            "rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0,
            "short_factor": factors, "long_factor": factors,
        },
    )  # fmt: skip
    theirs, attention = ROPE_INIT_FUNCTIONS["longrope"](config, "cpu")
    assert attention == 1.0
    assert theirs.tolist() == pytest.approx(rope.inv_freq(LLAMA31_1M, 128), rel=1e-6)


def test_the_published_recipes_cover_their_contexts() -> None:
    # Slowest pair of each: what lets positions beyond the context stay distinct.
    assert rope.longest_wavelength(LLAMA31_1M, 128) > 1_048_576
    assert rope.longest_wavelength(plain(800_000.0), 64) > 131_072
    assert rope.longest_wavelength(plain(1_000_000.0), 128) > 65_536


def test_no_scaling_means_factors_of_one() -> None:
    assert rope.longrope_factors(plain(10_000.0), 64) == [1.0] * 32


@pytest.mark.parametrize("dim", [0, -2, 3])
def test_an_odd_dimension_is_an_error(dim: int) -> None:
    with pytest.raises(ValueError, match="even and positive"):
        rope.inv_freq(plain(10_000.0), dim)


def test_wavelengths_are_full_turns() -> None:
    assert rope.wavelengths(plain(10_000.0), 4)[0] == 2 * math.pi


def test_a_pair_that_turns_exactly_as_often_as_a_limit_says_is_blended() -> None:
    """By which it is left alone, or divided whole: the blend ends there with the same frequency."""
    turns = 8192 / (2 * math.pi)  # over the original context, of a pair that turns by one radian a position
    at_high = Llama3Scaling(factor=8.0, low=1.0, high=turns, original=8192)
    at_low = Llama3Scaling(factor=8.0, low=turns, high=2 * turns, original=8192)
    assert (rope.bands(at_high, 1.0, 2), rope.bands(at_low, 1.0, 2)) == ((0, 1, 0), (0, 1, 0))
    assert rope.inv_freq(Rope(base=1.0, llama3=at_high, interpolation=1.0), 2) == [1.0]
    assert rope.inv_freq(Rope(base=1.0, llama3=at_low, interpolation=1.0), 2) == [1 / 8]


def test_latent_attention_scores_by_the_square_of_its_own_scale() -> None:
    """DeepSeek-V3's code: mscale = 0.1 * mscale_all_dim * ln(factor) + 1, and the softmax's scale times its square."""
    yarn = Yarn(
        factor=math.e**10, original=16, beta_fast=32.0, beta_slow=1.0, truncate=True, attention_factor=None,
        mscale=1.0, mscale_all_dim=0.5,
    )  # fmt: skip
    assert rope.score_factor(plain(100.0).model_copy(update={"yarn": yarn})) == pytest.approx(1.5**2)
    assert rope.score_factor(plain(100.0)) == 1.0


def test_yarns_ramp_ends_at_the_width_of_a_head_at_the_latest() -> None:
    """As transformers has it, in numbers of pairs: where slow pairs turn seldom enough, none is divided in full."""
    yarn = Yarn(
        factor=4.0, original=16, beta_fast=1e6, beta_slow=1e-9, truncate=True, attention_factor=None, mscale=None,
        mscale_all_dim=None,
    )  # fmt: skip
    usual = plain(100.0)
    found = rope.inv_freq(usual.model_copy(update={"yarn": yarn}), 8)
    slowed = [pair / 7 for pair in range(4)]  # from pair 0 to pair 7, which is not there
    expected = [f * (1 - s + s / 4) for f, s in zip(rope.inv_freq(usual, 8), slowed, strict=True)]
    assert found == pytest.approx(expected)

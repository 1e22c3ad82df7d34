"""Every child layer has a parent, every parent layer the same number of children, in either order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stages.spec.copies import whole_stacks

orders = st.sampled_from(["concatenate", "interleave"])


@given(st.integers(1, 64), st.integers(1, 8), orders)
def test_each_layer_is_copied_equally_often(parent: int, copies: int, how: str) -> None:
    children = Counter(whole_stacks(how, parent, parent * copies))
    assert children == dict.fromkeys(range(parent), copies)


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 8))
def test_concatenation_with_fewer_loops_is_the_same_walk_through_the_layers(
    parent: int, copies: int, loops: int
) -> None:
    """The looped parent, and the upcycled child with its loops divided by the copies, visit the same blocks in turn."""
    child = whole_stacks("concatenate", parent, parent * copies)
    assert tuple(range(parent)) * (copies * loops) == child * loops

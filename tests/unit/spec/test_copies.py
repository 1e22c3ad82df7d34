"""Whole stacks of layers, or each layer repeated."""

import pytest

from stages.spec.copies import whole_stacks


def test_concatenate_repeats_the_stack() -> None:
    assert whole_stacks("concatenate", 2, 4) == (0, 1, 0, 1)


def test_interleave_repeats_each_layer() -> None:
    assert whole_stacks("interleave", 2, 4) == (0, 0, 1, 1)


def test_ouro_doubles_its_depth() -> None:
    # arXiv 2510.25741, section 4.3.1
    assert whole_stacks("concatenate", 24, 48) == (*range(24), *range(24))


@pytest.mark.parametrize(("parent", "child"), [(2, 5), (4, 2), (0, 4), (2, 0)])
def test_depths_that_do_not_divide(parent: int, child: int) -> None:
    with pytest.raises(ValueError, match="whole number of copies"):
        whole_stacks("concatenate", parent, child)


def test_a_map_is_of_whole_numbers() -> None:
    """An index of a layer: 1.0 would be no index, though it is equal to one."""
    assert {type(layer) for how in ("concatenate", "interleave") for layer in whole_stacks(how, 2, 6)} == {int}


def test_no_other_way_is_taken_for_one_of_them() -> None:
    with pytest.raises(ValueError, match="twice"):
        whole_stacks("twice", 2, 4)

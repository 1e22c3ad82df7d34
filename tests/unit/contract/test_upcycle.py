import pytest

from stages.contract.upcycle import block_calls, layer_map


def test_concatenate_repeats_the_stack():
    assert layer_map(2, 4, "concatenate") == (0, 1, 0, 1)


def test_interleave_repeats_each_layer():
    assert layer_map(2, 4, "interleave") == (0, 0, 1, 1)


def test_ouro_doubles_its_depth_and_halves_its_loops():
    # arXiv 2510.25741, section 4.3.1: 24 layers x 8 loops become 48 layers x 4 loops, the same 192 block calls.
    assert layer_map(24, 48, "concatenate") == (*range(24), *range(24))
    assert block_calls(24, 8) == block_calls(48, 4) == 192


@pytest.mark.parametrize(("parent", "child"), [(2, 5), (4, 2), (0, 4), (2, 0)])
def test_depths_that_do_not_divide(parent, child):
    with pytest.raises(ValueError, match="whole number of copies"):
        layer_map(parent, child, "concatenate")


def test_a_map_is_of_whole_numbers():
    """An index of a layer: 1.0 would be no index, though it is equal to one."""
    assert {type(layer) for how in ("concatenate", "interleave") for layer in layer_map(2, 6, how)} == {int}

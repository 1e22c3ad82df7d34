"""Windows of documents: what a short row takes, and that no two sources share an order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.small import Small, load, phase

CONTEXT = 128


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), length=st.integers(1, CONTEXT))
def test_a_short_row_has_the_first_documents_that_fit_from_its_window_on(
    small: Small, place: float, length: int
) -> None:
    """Those of windows before are read already; a document that fills the row to its end fits."""
    windows = load(small, phase(small.source("reasoning"), objective="sft", packing="whole", context=CONTEXT))
    (reader,) = windows._readers
    found, offsets = reader.windows, small.corpus("reasoning").offsets
    ordinal = int(place * found.available)
    left, expected = length, []
    for window in range(ordinal, found.count):
        for document in found.documents(0, window).tolist():
            size = int(offsets[document + 1] - offsets[document])
            if size <= length and left >= 0:
                left -= size
                expected += [document] if left >= 0 else []
    assert found.short(ordinal, length).tolist() == expected


def test_a_source_that_is_used_up_has_no_short_row(small: Small) -> None:
    sources = (small.source("reasoning", weight=3), small.source("math"))
    made = phase(*sources, objective="sft", packing="whole", context=CONTEXT, budget=12 * CONTEXT)
    for reader in load(small, made)._readers:
        assert reader.short_row(reader.windows.available, CONTEXT) is None
        assert reader.short_row(reader.windows.available - 1, CONTEXT) is not None


def test_every_source_and_epoch_has_an_order_of_its_own(small: Small) -> None:
    """Also two sources of one phase with as many windows."""
    made = phase(small.source("math"), small.source("reasoning"), epochs=2)
    keys = [reader.windows._key(epoch) for reader in load(small, made)._readers for epoch in (0, 1)]
    assert len(set(keys)) == 4

"""Datasets that Megatron-Core's own builder writes are read as Megatron-Core reads them, and ours by Megatron-Core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.data.corpus import mmidx
from stages.data.files.pieces import Input
from stages.data.preparing import megatron
from stages.data.tokens.roles import Roles

pytestmark = pytest.mark.filterwarnings("ignore:Could not determine rank")
ROLES = Roles(pad=0, bos=1, eos=2, image=None, turn_begin=None, turn_end=None, think=None, end_think=None)


def documents(seed: int, vocab: int) -> list[list[list[int]]]:
    """Documents of one to three sequences each."""
    draw = np.random.default_rng(seed)
    return [
        [draw.integers(3, vocab, size=draw.integers(1, 40)).tolist() for _ in range(draw.integers(1, 4))]
        for _ in range(50)
    ]


def opened(prefix: Path) -> megatron.Dataset:
    bin_, idx = (prefix.with_name(prefix.name + kind) for kind in (".bin", ".idx"))
    given = (Input(path.name, path, path.stat().st_size) for path in (bin_, idx))
    return megatron.opened(prefix.name, *given)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64])
def test_what_megatron_writes_is_read_document_by_document(tmp_path: Path, dtype: type[np.generic]) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

    wanted, prefix = documents(1, 100), tmp_path / "a.text_document"
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for document in wanted:
        flat = np.concatenate(document).astype(dtype)
        builder.add_document(flat, [len(sequence) for sequence in document])
    builder.finalize(f"{prefix}.idx")
    found = opened(prefix)
    theirs = IndexedDataset(str(prefix))
    assert found.lengths.tolist() == theirs.sequence_lengths.tolist()
    assert found.first_sequences.tolist() == theirs.document_indices.tolist()
    blocks = list(megatron.Scan(found, 100, ROLES, lambda _: None).documents())
    tokens = np.fromfile(found.data.path, dtype=dtype)
    spans = [(a, a + n) for block in blocks for a, n in zip(block.starts.tolist(), block.lengths.tolist(), strict=True)]
    assert [tokens[a:b].tolist() for a, b in spans] == [sum(document, []) for document in wanted]  # noqa: RUF017


def test_types_have_megatrons_codes_and_floats_are_the_only_ones_left_out() -> None:
    from megatron.core.datasets.indexed_dataset import DType

    assert {code: np.dtype(DType.dtype_from_code(code)) for code in mmidx.DTYPES} == mmidx.DTYPES
    assert {one.value for one in DType} - set(mmidx.DTYPES) == {6, 7}
    assert [np.dtype(DType.dtype_from_code(code)).kind for code in (6, 7)] == ["f", "f"]


def test_what_we_write_megatron_reads(tmp_path: Path) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    wanted = [document[0] for document in documents(2, 60_000)]
    (tmp_path / "b.bin").write_bytes(np.concatenate(wanted).astype("<u2").tobytes())
    lengths = np.array([len(one) for one in wanted], dtype=np.int64)
    (tmp_path / "b.idx").write_bytes(mmidx.index_bytes(lengths, np.dtype("<u2")))
    theirs = IndexedDataset(str(tmp_path / "b"))
    assert [theirs[number].tolist() for number in range(len(theirs))] == wanted

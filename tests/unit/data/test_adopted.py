"""Megatron datasets: adopted without a copy, and read in our order."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.data.corpus import as_declared, mmidx
from stages.data.corpus.adopted import AdoptedTokens
from stages.data.corpus.corpus_manifest import read_manifest
from stages.data.corpus.prepared import Corpus, verify
from stages.data.mapped import Mapped
from stages.data.preparing import buckets, megatron
from stages.errors import UserError
from stages.spec.resolved_phases import Source
from tests.unit.data.adopted_tokens import BOS, DOCUMENTS, EOS, accept, declare, read, root, run, write
from tests.unit.data.small import Small, load, phase

__all__ = ["root"]


def test_its_documents_are_those_of_the_file_and_no_token_is_copied(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    made = run(root)
    folder = root / "results/mini/data/mine"
    assert sorted(read(root)) == sorted(DOCUMENTS)
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "order.bin", "seal.json", "tokenizer.json", "tokenizer_use.json",
    }  # fmt: skip
    assert made.size == sum(map(len, read(root)[: made.documents]))
    assert (made.documents + made.heldout, made.longest) == (40, max(map(len, DOCUMENTS)))
    assert not list(folder.parent.glob(".mine*"))


def test_a_file_that_is_written_to_while_it_is_read_is_named_and_one_that_was_replaced_is_read_as_it_was(
    root: Path,
) -> None:
    """By size and time, so that it costs nothing; a run compares digests before it begins."""
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    accept(root)
    small = Small(root, root / "results/mini/data")
    source = small.source("mine")
    data, folder = load(small, phase(source, context=16)), small.data / "mine"
    data.refuse_changed()
    before = [one.tokens.tolist() for one in data.samples(0, 3, 0)]
    for path in (root / "lake/a.bin", root / "lake/a.idx", folder / "order.bin"):
        raw, stat = path.read_bytes(), path.stat()
        path.write_bytes(raw)
        os.utime(path, ns=(0, stat.st_mtime_ns + 1))
        with pytest.raises(
            UserError, match=rf"corpus mine: .*{path.name}: written to while it was read.*stages data mi"
        ):
            data.refuse_changed()
        os.utime(path, ns=(0, stat.st_mtime_ns))
        data.refuse_changed()
        other = path.with_name("other")
        other.write_bytes(raw[::-1])
        other.rename(path)
        data.refuse_changed()
        assert [one.tokens.tolist() for one in data.samples(0, 3, 0)] == before


def test_the_order_is_that_of_a_hash_and_not_of_the_file(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    run(root)
    before = read(root)
    write(root / "lake/a", DOCUMENTS[::-1])
    run(root)
    assert read(root) == before != DOCUMENTS


@pytest.mark.parametrize("dtype", ["<u2", "<i2", "<i4", "<i8"])
def test_the_type_of_the_tokens_does_not_change_the_order(root: Path, dtype: str) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    run(root)
    before = read(root)
    write(root / "lake/a", DOCUMENTS, dtype)
    run(root)
    assert read(root) == before


def test_several_datasets_are_one_corpus(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    whole = run(root)
    before = read(root)
    for name, part in (("one", DOCUMENTS[:11]), ("three", DOCUMENTS[30:]), ("two.x", DOCUMENTS[11:30])):
        write(root / f"lake/parts/{name}", part, "<i4" if name == "three" else "<u2")
    declare(root, ["lake/parts/t*", "lake/parts/one"])
    made = run(root)
    assert read(root) == before
    assert (made.size, made.documents, made.heldout) == (whole.size, whole.documents, whole.heldout)
    assert made.adopted is not None
    assert [one.prefix for one in made.adopted.datasets] == ["lake/parts/three", "lake/parts/two.x", "lake/parts/one"]


def test_a_document_of_several_sequences_is_one_document_and_an_empty_one_is_left_out(root: Path) -> None:
    flat = [BOS, 1, 2, EOS, BOS, 3, EOS]
    (root / "lake").mkdir()
    (root / "lake/a.bin").write_bytes(np.array(flat, dtype="<u2").tobytes())
    header = mmidx.HEADER.pack(mmidx.MAGIC, 1, 8, 4, 4)
    rest = struct.pack("<4i", 2, 0, 2, 3) + struct.pack("<4q", 0, 4, 4, 8) + struct.pack("<4q", 0, 3, 3, 4)
    (root / "lake/a.idx").write_bytes(header + rest)
    declare(root)
    made = run(root)
    assert sorted(read(root)) == [[BOS, 1, 2, EOS], [BOS, 3, EOS]]
    assert made.adopted is not None
    assert (made.adopted.empty, made.adopted.begin, made.adopted.end) == (1, 2, 2)


def test_it_is_said_how_many_documents_begin_and_end_as_the_tokenizer_writes_them(root: Path) -> None:
    write(root / "lake/a", [[BOS, 1, 2, EOS], [3, 4, EOS], [5, 6], [BOS, 7]])
    declare(root)
    made = run(root)
    assert made.adopted is not None
    assert (made.adopted.begin, made.adopted.end) == (2, 2)


def test_blocks_and_buckets_change_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "lake/a", DOCUMENTS * 3)
    declare(root)
    wanted = run(root)
    for documents, tokens, entries, rows in ((7, 5, 3, 4), (1, 1, 1, 1), (100, 64, 9, 50)):
        monkeypatch.setattr(megatron, "DOCUMENTS", documents)
        monkeypatch.setattr(megatron, "TOKENS", tokens)
        monkeypatch.setattr(megatron, "ENTRIES", entries)
        monkeypatch.setattr(buckets, "ROWS", rows)
        assert run(root) == wanted


@given(st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=9), min_size=1, max_size=12), st.data())
def test_a_place_of_the_corpus_is_a_token_of_the_document_that_lies_there(
    documents: list[list[int]], draw: st.DataObject
) -> None:
    order = draw.draw(st.permutations(range(len(documents))))
    cut = draw.draw(st.integers(0, len(documents)))
    parts = ((documents[:cut], "<u2"), (documents[cut:], "<i4"))
    files = [np.array([token for one in part for token in one], dtype=kind) for part, kind in parts]
    lengths = np.array([len(one) for one in documents])
    starts = (np.cumsum(lengths) - lengths)[order]
    offsets = np.concatenate([[0], np.cumsum(lengths[order])])
    mapped = [Mapped(Path(__file__), np.uint8)] * 3
    view = AdoptedTokens(files, np.array([0, len(files[0])]), starts, offsets, mapped)
    wanted = np.concatenate([documents[number] for number in order])
    places = draw.draw(st.lists(st.integers(0, len(wanted) - 1), min_size=1))
    first, last = sorted((places[0], places[-1]))
    assert len(view) == len(wanted)
    assert view[np.array(places)].tolist() == wanted[places].tolist()
    assert view[first:last].tolist() == wanted[first:last].tolist()


def test_it_trains_as_a_corpus_of_text_does(root: Path) -> None:
    """Windows and whole documents read the tokens that the documents have."""
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    made = run(root)
    flat = np.concatenate(read(root))
    source = Source(corpus="mine", group="text", weight=1, start=0, end=made.size, digest=made.digest, kind="text")
    small = Small(root, root / "results/mini/data")
    row, other = load(small, phase(source, packing="concatenate", context=32, budget=64)).samples(0, 2, 0)
    for one in (row, other):
        (_, document, start, _) = one.spans[0]
        at = int(Corpus(small.data / "mine").offsets[document]) + start
        assert one.tokens.tolist() == flat[at : at + 32].tolist()
    [packed] = load(small, phase(source, packing="whole", context=128, budget=128)).samples(0, 1, 0)
    assert packed.tokens[packed.segments == 0].tolist() in DOCUMENTS


def test_files_below_a_declared_root_may_lie_anywhere(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    lake = tmp_path_factory.mktemp("lake")
    write(lake / "a", DOCUMENTS)
    declare(root, "a", root="lake")
    (root / "specs/data/roots.yaml").write_text(f"roots: {{lake: {lake}}}\n")
    made = accept(root)
    assert sorted(read(root)) == sorted(DOCUMENTS)
    assert str(lake) not in made.model_dump_json()
    moved = tmp_path_factory.mktemp("moved")
    for kind in (".bin", ".idx"):
        (lake / f"a{kind}").rename(moved / f"a{kind}")
    with pytest.raises(UserError, match=r"specs/data/mine\.yaml: prefix: there is no such file"):
        read(root)
    (root / "specs/data/roots.yaml").write_text(f"roots: {{lake: {moved}}}\n")
    assert sorted(read(root)) == sorted(DOCUMENTS)
    folder = root / "results/mini/data/mine"
    assert as_declared.is_declared(root, "mine", read_manifest(folder))
    assert not verify(folder, deep=True)


def test_files_that_were_moved_are_the_same_corpus(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    before = run(root).digest
    write(root / "elsewhere/b", DOCUMENTS)
    declare(root, "elsewhere/b")
    assert run(root).digest == before

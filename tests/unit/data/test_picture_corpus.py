"""Pictures of one's own: one corpus from a tar or from JSONL, in the shipped corpora's form, and trained on."""

from __future__ import annotations

import json
import os
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stages.contract import ledger
from stages.data import decode
from stages.data.corpus import as_declared
from stages.data.corpus.corpus_manifest import read_manifest
from stages.data.corpus.prepared import Corpus, verify
from stages.data.decode import Size
from stages.data.loading.loader import PhaseData
from stages.data.preparing import prepare
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_use import FILE
from stages.errors import SpecError, UserError
from stages.models.build import build
from stages.spec.resolved_phases import BatchStep, Source
from stages.store.digest import BLOCK
from stages.train import objectives
from stages.train.replicated import gather
from tests.edits import edit
from tests.unit.data.own_files import run
from tests.unit.data.pictures_of_users import declare, grey, jsonl, listed, members, png, rows, saved, tar
from tests.unit.data.small import ZERO, Small
from tests.unit.train import tiny
from tests.unit.train.beginning import begin


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".bin", ".idx")}


@pytest.mark.parametrize("kind", ["pairs", "multimodal"])
def test_a_tar_and_jsonl_of_the_same_rows_in_any_order_are_one_corpus(project: Small, kind: str) -> None:
    found = rows(60)
    tar(project.root / "a.tar", members(found))
    declare(project, "a.tar", kind)
    made = run(project)
    written = files(project.data / "mine")
    listed(project.root, found[::-1])
    declare(project, "rows.jsonl", kind)
    again = run(project)
    assert again.digest == made.digest
    assert files(project.data / "mine") == written
    assert made.inputs is not None
    assert (made.documents + made.heldout, made.inputs.files) == (60, 1)
    assert 0 < made.heldout < 60
    assert [path.name for path in project.data.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("kind", ["pairs", "multimodal"])
def test_each_caption_stays_with_its_own_pixels(project: Small, kind: str) -> None:
    found = rows(40)
    tar(project.root / "a.tar", members(found))
    declare(project, "a.tar", kind)
    made = run(project)
    corpus, tokenizer = Corpus(project.data / "mine"), Tokenizer(project.data / "tokenizer" / FILE)
    expected = {said: decode.pixels(data, Size(8, 16)) for _, data, said in found}
    for document in range(corpus.documents):
        tokens = corpus.tokens[slice(*corpus.offsets[document : document + 2].tolist())]
        said = tokenizer.decode(tokens[tokens > 7])
        (pixels,) = corpus.raw_pictures(document)
        assert np.array_equal(pixels, expected.pop(said))
        assert np.count_nonzero(tokens == 3) == (pixels.size // 64 if kind == "multimodal" else 0)
    assert not expected
    assert (made.cell, made.patch, made.channels) == (8, 4, 1)


def test_what_is_declared_is_compared_when_it_is_prepared_again(project: Small) -> None:
    words = project.root / "specs/data/tokenizer.yaml"
    edit(words, ZERO, read_manifest(project.data / "tokenizer").digest)
    tar(project.root / "a.tar", members(rows(9)))
    declare(project, "a.tar")
    made = run(project)
    measured = {key: getattr(made, key) for key in ("digest", "size", "documents", "longest", "heldout")}
    declare(project, "a.tar", **measured)
    assert prepare.prepare(project.root, "mine", project.data / "mine") == made
    assert as_declared.is_declared(project.root, "mine", made)
    assert not verify(project.data / "mine", deep=True)
    tar(project.root / "a.tar", members(rows(10)))
    with pytest.raises(UserError, match="digest"):
        prepare.prepare(project.root, "mine", project.data / "mine")


def test_all_captions_of_a_picture_are_held_out_or_none(project: Small) -> None:
    pictures = [(f"{n}", png(n % 30), f"caption {n}") for n in range(120)]
    tar(project.root / "a.tar", members(pictures))
    declare(project, "a.tar")
    made = run(project)
    corpus = Corpus(project.data / "mine")
    seen = [corpus.raw_picture(n).tobytes() for n in range(120)]
    assert not set(seen[: made.documents]) & set(seen[made.documents :])
    assert made.heldout % 4 == 0


@pytest.mark.parametrize("kind", ["pairs", "multimodal"])
def test_pixels_are_never_in_memory_all_at_once(project: Small, kind: str) -> None:
    """50 pictures of 896 x 896 pixels, 40 MB; two blocks of 8 MiB are what any file is hashed in."""
    found = [(f"{n}", saved(Image.new("L", (896, 896), n), compress_level=1), f"picture {n}") for n in range(50)]
    tar(project.root / "a.tar", members(found))
    declare(project, "a.tar", kind, parameters={"cell": 28, "patch": 14, "channels": 1, "side": 896})
    tracemalloc.start()
    run(project)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (project.data / "mine" / "images.bin").stat().st_size == 50 * 896 * 896
    assert peak < 2.5 * BLOCK


def test_duplicates_are_kept_or_dropped_as_the_spec_says(project: Small) -> None:
    found = [(f"{n}", png(n % 5), f"caption {n % 5}") for n in range(20)]
    tar(project.root / "a.tar", members(found))
    for said, count in (("keep", 20), ("drop", 5)):
        declare(project, "a.tar", duplicates=said)
        made = run(project)
        assert made.inputs is not None
        assert (made.documents + made.heldout, made.inputs.duplicates) == (count, 20 - count)


def test_bad_rows_are_left_out_up_to_a_number_and_listed(project: Small) -> None:
    tar(project.root / "a.tar", [*members(rows(8)), ("bad.png", b"text"), ("bad.txt", b"a"), ("worse.png", png(9))])
    declare(project, "a.tar", on_bad_row={"skip": 2})
    made = run(project)
    assert made.inputs is not None
    assert [(one.file, one.line) for one in made.inputs.skipped] == [("a.tar", 9), ("a.tar", 10)]
    declare(project, "a.tar", on_bad_row={"skip": 1})
    with pytest.raises(UserError, match=r"a\.tar:10: member 'worse': 0 members are its caption"):
        run(project)
    assert [path.name for path in project.data.iterdir() if path.name.startswith(".")] == []


def test_a_caption_may_be_a_column_of_a_members_json_and_columns_have_other_names(project: Small) -> None:
    found = rows(6)
    with_json = [(f"{key}.json", json.dumps({"caption": said}).encode()) for key, _, said in found]
    both = sorted([*members(found), *with_json])
    tar(project.root / "a.tar", [(name, b"ignored" if name.endswith(".txt") else data) for name, data in both])
    declare(project, "a.tar", columns={"text": "caption"}, extensions={"image": ["png"], "text": "json"})
    made = run(project)
    listed(project.root, found)
    jsonl(project.root / "r.jsonl", [{"caption": said, "file": f"pictures/{key}.png"} for key, _, said in found])
    declare(project, "r.jsonl", columns={"text": "caption", "image": "file"})
    assert run(project).digest == made.digest


def test_a_link_out_of_the_root_and_a_changed_spec_are_refused(project: Small, tmp_path: Path) -> None:
    listed(project.root, rows(4))
    outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
    outside.write_bytes(png(1))
    (project.root / "pictures" / "0003.png").unlink()
    os.symlink(outside, project.root / "pictures" / "0003.png")
    declare(project, "rows.jsonl")
    with pytest.raises(UserError, match=r"rows\.jsonl:4: 'pictures/0003\.png': picture: a link that leads out of"):
        run(project)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": "text"}, r"kind: found 'text'; allowed: multimodal or pairs"),
        ({"unit": "tokens"}, r"unit: found 'tokens'; allowed: items"),
        ({"parameters": {"cell": 8, "patch": 4, "channels": 1}}, r"parameters.side: found nothing"),
        ({"parameters": {"cell": 8, "patch": 4, "channels": 1, "side": 20}}, r"side: found 20; allowed: a multiple of"),
        ({"parameters": {"cell": 8, "patch": 3, "channels": 1, "side": 16}}, r"cell: found 8; allowed: a multiple of"),
        ({"columns": {"caption": "text"}}, "caption"),
        ({"rows": "messages"}, r"rows: found messages; allowed: interleaved or messages, of kind multimodal"),
        ({"without": ["math"]}, r"builder pictures has no without"),
        ({"extensions": {"image": []}}, "image"),
    ],
)
def test_a_spec_is_refused_by_its_own_line(project: Small, changes: dict[str, Any], why: str) -> None:
    declare(project, "a.tar", **changes)
    with pytest.raises((SpecError, UserError), match=why):
        run(project)


def test_extensions_are_of_builder_pictures_alone(project: Small) -> None:
    declare(project, "a.txt", kind="text", builder="file", parameters={}, extensions={"text": "txt"})
    with pytest.raises((SpecError, UserError), match="builder file has no extensions"):
        run(project)


def test_text_files_do_not_take_a_tar_and_pictures_take_nothing_else(project: Small) -> None:
    for name in ("a.parquet", "a.tar"):
        (project.root / name).write_bytes(b"x")
    declare(project, "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: of no known kind; allowed: \.tar, \.jsonl"):
        run(project)
    declare(project, "a.tar", builder="file", kind="text", parameters={}, unit="tokens")
    with pytest.raises(UserError, match=r"a\.tar: of no known kind; allowed: \.jsonl, "):
        run(project)


def test_without_pillow_the_extra_is_named(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    tar(project.root / "a.tar", members(rows(4)))
    declare(project, "a.tar")
    monkeypatch.setattr(decode, "import_module", missing)
    with pytest.raises(UserError, match=r"mine: Pillow decodes pictures, and is not installed: `pip install 'stages"):
        run(project)


# ---------------------------------------------------------------- what is done to pixels


def test_grey_pictures_that_fit_stay_as_they_are() -> None:
    for kind in ("PNG", "WEBP"):
        data = saved(grey(3), kind, **({"lossless": True} if kind == "WEBP" else {}))
        assert np.array_equal(decode.pixels(data, Size(8, 16)), np.asarray(grey(3)))


def test_large_pictures_are_averaged_and_small_ones_fill_a_cell() -> None:
    blocks = np.kron(np.array([[0, 40], [80, 120]], dtype=np.uint8), np.ones((16, 16), dtype=np.uint8))
    found = decode.pixels(saved(Image.fromarray(blocks)), Size(8, 16))
    assert np.array_equal(found, np.kron(np.array([[0, 40], [80, 120]]), np.ones((8, 8))))
    assert decode.pixels(saved(grey(1, 1, 1)), Size(8, 16)).shape == (8, 8)
    assert decode.pixels(saved(grey(1, 100, 8)), Size(8, 16)).shape == (16, 8)
    assert decode.pixels(saved(grey(1, 17, 31)), Size(8, 448)).shape == (16, 24)


def test_exif_turns_a_picture_and_what_is_transparent_is_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    found = decode.pixels(saved(grey(2, 8, 16), exif=exif), Size(8, 16))
    assert np.array_equal(found, np.rot90(np.asarray(grey(2, 8, 16)), -1))
    exif[0x010E] = "a description"
    data = saved(grey(2, 8, 16), exif=exif)
    place = data.index(b"MM\0*") + 4
    for offset in (b"\0\0\0\xff", b"\0\0\0\x18"):  # of the list of tags: behind the end, and in the middle of it
        damaged = data[:place] + offset + data[place + 4 :]
        start = data.index(b"eXIf")
        size = int.from_bytes(data[start - 4 : start], "big")
        checked = zlib.crc32(damaged[start : start + 4 + size]).to_bytes(4, "big")
        damaged = damaged[: start + 4 + size] + checked + damaged[start + 8 + size :]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(decode.pixels(damaged, Size(8, 16)), np.asarray(grey(2, 8, 16)))
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    for data in (saved(clear), saved(clear, "WEBP", lossless=True), saved(palette, transparency=0)):
        assert np.all(decode.pixels(data, Size(8, 16)) == 255)
    assert np.all(decode.pixels(saved(palette), Size(8, 16)) == 0)


def test_colours_become_grey_by_the_weights_of_rec_601() -> None:
    for colour, level in (((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)):
        assert np.all(decode.pixels(saved(Image.new("RGB", (8, 8), colour)), Size(8, 16)) == level)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("objective", ["coca", "joint"])
def test_a_step_is_trained_on_ones_own_pictures(project: Small, objective: str) -> None:
    """Objective, loader and models as they are: the gradients of the image encoder are finite and not zero."""
    tar(project.root / "a.tar", members(rows(60)))
    kind = "pairs" if objective == "coca" else "multimodal"
    declare(project, "a.tar", kind)
    made = run(project)
    stage = tiny.make(objective)
    source = Source(corpus="mine", group="multimodal", weight=1, start=0, end=made.size, digest=made.digest, kind=kind)
    changes: dict[str, Any] = {
        "sources": (source,), "budget": 4 * 32, "context": 32, "batch": (BatchStep(after=0, sequences=4),),
        "packing": "whole",
    }  # fmt: skip
    phase = stage.phases[0].model_copy(update=changes)
    words = {"vocab": 300, "length": made.longest}
    modules = {
        name: model.model_copy(update={key: value for key, value in words.items() if hasattr(model, key)})
        for name, model in stage.modules.items()
    }
    stage = stage.model_copy(update={"phases": (phase,), "modules": modules})
    built = build(stage)
    optimizer, _ = begin(stage, built)
    data = PhaseData(phase, stage.seed, "p/s/main", project.data)
    made_of = objectives.make(stage, phase, built, data, torch.device("cpu"))
    gradients, values = gather(optimizer, made_of, ledger.step_at(phase, 0))
    assert all(torch.isfinite(value).all() for value in values)
    named = [gradient for slot, gradient in zip(optimizer.slots, gradients, strict=True) if slot.name.startswith("vit")]
    assert named
    assert all(torch.isfinite(one).all() for one in named)
    assert any(one.abs().max() > 0 for one in named)

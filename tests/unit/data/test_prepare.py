"""Preparation: the same bytes every time, held against the declared digest, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.data import spec
from stages.data.corpus import as_declared, corpus_manifest, prepared
from stages.data.document import BOS, EOS
from stages.data.preparing import measured, prepare
from stages.errors import UserError
from tests.unit.data.small import CORPORA, Small, write_spec
from tests.unit.data.small import spec as small_spec

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(small: Small, tmp_path: Path) -> Small:
    """A copy that a test may change: the small project, with the tokenizer prepared."""
    shutil.copytree(small.root / "specs", tmp_path / "specs")
    shutil.copytree(small.data / "tokenizer", tmp_path / "data" / "tokenizer")
    own = Small(tmp_path, tmp_path / "data")
    accept(own, "tokenizer", corpus_manifest.read_manifest(own.data / "tokenizer"))
    return own


def accept(project: Small, name: str, manifest: corpus_manifest.DataManifest) -> None:
    path = project.root / "specs" / "data" / f"{name}.yaml"
    path.write_text(
        yaml.safe_dump({**yaml.safe_load(path.read_text()), **yaml.safe_load(measured.declaration(manifest))})
    )


def test_an_undeclared_result_is_refused_and_leaves_nothing(project: Small) -> None:
    with pytest.raises(UserError, match=r"math\.yaml: digest: declared 0{64}, built [0-9a-f]{64}") as caught:
        prepare.prepare(project.root, "math", project.data / "math")
    assert "stages data math --accept" in str(caught.value)
    assert sorted(path.name for path in project.data.iterdir()) == ["tokenizer"]


def test_what_may_not_be_read_is_refused_before_anything_is_made(
    project: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = project.data / "math"

    def refuse(path: Path) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(prepare, "documents", lambda *_: pytest.fail("something was made"))
    with pytest.raises(PermissionError) as caught:
        prepare.prepare(project.root, "math", place, accept=True)
    assert caught.value.filename == str(place)


def test_accepting_prints_what_makes_the_next_preparation_pass(project: Small) -> None:
    first = prepare.prepare(project.root, "math", project.data / "math", accept=True)
    assert not as_declared.is_declared(project.root, "math", corpus_manifest.read_manifest(project.data / "math"))
    accept(project, "math", first)
    again = prepare.prepare(project.root, "math", project.data / "math")
    assert again == first
    assert as_declared.is_declared(project.root, "math", corpus_manifest.read_manifest(project.data / "math"))


@pytest.mark.parametrize("name", ["tokenizer", *CORPORA])
def test_preparing_twice_gives_the_same_bytes(small: Small, project: Small, name: str) -> None:
    prepare.prepare(project.root, name, project.data / name, accept=True)
    for path in sorted((small.data / name).iterdir()):
        assert path.read_bytes() == (project.data / name / path.name).read_bytes(), path.name


def test_the_tokenizer_is_the_same_in_another_process_and_on_one_thread(small: Small) -> None:
    code = "import sys; from pathlib import Path; from stages.data.preparing.prepare import prepare; "
    code += "r = Path(sys.argv[1]); print(prepare(r, 'tokenizer', r / 'again' / 'tokenizer', accept=True).digest)"
    environment = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code, str(small.root)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == corpus_manifest.read_manifest(small.data / "tokenizer").digest


def test_another_tokenizer_than_the_declared_one_is_refused(project: Small) -> None:
    path = project.root / "specs/data/tokenizer.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "digest": "f" * 64}))
    with pytest.raises(UserError, match=r"the spec declares f{64}"):
        prepare.prepare(project.root, "math", project.data / "math")


@pytest.mark.parametrize("name", CORPORA)
def test_every_document_begins_with_the_only_bos_and_ends_with_the_only_eos(small: Small, name: str) -> None:
    corpus = small.corpus(name)
    assert np.flatnonzero(corpus.tokens == BOS).tolist() == corpus.offsets[:-1].tolist()
    assert np.flatnonzero(corpus.tokens == EOS).tolist() == (corpus.offsets[1:] - 1).tolist()


@pytest.mark.parametrize("name", CORPORA)
def test_held_out_documents_lie_behind_the_training_range(small: Small, name: str) -> None:
    corpus = small.corpus(name)
    manifest = corpus.manifest
    assert manifest.heldout == corpus.documents - corpus.training_documents > 0
    end = corpus.training_documents if manifest.kind == "pairs" else int(corpus.offsets[corpus.training_documents])
    assert manifest.size == end


@pytest.mark.parametrize("name", ["captions", "digit_qa", "clips", "pairs"])
def test_no_held_out_digit_is_ever_drawn_in_training(small: Small, name: str) -> None:
    # 8 x 8 crops of what is drawn, of the same size and brightness: none of the held-out ones is a training one.
    corpus = small.corpus(name)
    assert corpus.pictures is not None
    drawn: dict[bool, set[bytes]] = {False: set(), True: set()}
    for row, (document, height, width, _, digit) in enumerate(corpus.pictures.tolist()):
        if digit >= 0 and name != "clips":
            pixels = corpus.raw_picture(row)
            rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
            crop = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            drawn[document >= corpus.training_documents].add(crop.tobytes())
        else:
            assert height % 8 == width % 8 == 0
    assert not drawn[False] & drawn[True]


def test_a_cut_file_is_noticed_and_a_changed_byte_when_asked(project: Small) -> None:
    folder = project.data / "math"
    prepare.prepare(project.root, "math", folder, accept=True)
    data = bytearray((folder / "tokens.bin").read_bytes())
    data[10] ^= 1
    (folder / "tokens.bin").write_bytes(data)
    assert prepared.verify(folder, deep=False) == []
    (problem,) = prepared.verify(folder, deep=True)
    assert re.search(r"tokens\.bin: expected blake3 [0-9a-f]{64}, found blake3 [0-9a-f]{64}$", str(problem))
    (folder / "tokens.bin").write_bytes(data[:-2])
    with pytest.raises(
        UserError, match=r"tokens\.bin: expected \d+ bytes, .* found \d+ bytes.*`stages data math --scale "
    ):
        prepared.Corpus(folder)


def test_the_key_follows_the_builder_and_the_tokenizer(project: Small) -> None:
    key = as_declared.data_key(project.root, "math")
    write_spec(project.root, "math", small_spec("math", parameters={"count": 121}))
    changed = as_declared.data_key(project.root, "math")
    write_spec(project.root, "math", small_spec("math"))
    assert len(key) == 32
    assert as_declared.data_key(project.root, "math") == key != changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": -1}, r"specs/data/math\.yaml:\d+: size: found '-1'"),
        ({"colour": 1}, r"math\.yaml:\d+: colour: found the unknown key 'colour'"),
        ({"digest": "abc"}, r"math\.yaml:\d+: digest: found 'abc'; allowed: a blake3 digest"),
        ({"corpus": "other"}, r"math\.yaml:\d+: corpus: found 'other'; allowed: 'math'"),
        ({"builder": "poems"}, r"math\.yaml:\d+: builder: found 'poems'; allowed: prose, code"),
        ({"parameters": {}}, r"math\.yaml:\d+: parameters\.count: found nothing"),
        ({"parameters": {"count": 3, "cuont": 3}}, "unknown key 'cuont'; allowed: count. Did you mean 'count'"),
        ({"kind": "sft"}, "kind: found 'sft'; allowed: text"),
        ({"unit": "items"}, "unit: found 'items'; allowed: tokens"),
        ({"path": "data/a.txt"}, "path: found an entry; allowed: none; builder math reads no path"),
    ],
)
def test_a_wrong_data_spec_is_refused(project: Small, changes: dict[str, object], message: str) -> None:
    write_spec(project.root, "math", small_spec("math", **changes))
    with pytest.raises(UserError, match=message):
        prepare.prepare(project.root, "math", project.data / "math", accept=True)


def test_an_unknown_corpus_lists_the_known_ones(project: Small) -> None:
    with pytest.raises(UserError, match=r"no corpus 'poems'; there are: captions, clips.*, tokenizer\."):
        prepare.prepare(project.root, "poems", project.data / "poems")


def test_shipped_specs_are_all_readable() -> None:
    names = spec.names(ROOT)
    assert names[0] == "tokenizer"
    assert {"prose", "code", "long", "math", "instruct", "long_instruct", "reasoning", "pairs"} < set(names)
    for name in names[1:]:
        declared = spec.load(ROOT, name)
        assert declared.size >= declared.documents > declared.heldout > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["instruct", "long", "reasoning"])
def test_shipped_corpora_come_out_as_declared(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "shipped"
    if not (folder / "tokenizer").is_dir():
        prepare.prepare(ROOT, "tokenizer", folder / "tokenizer")
    assert prepare.prepare(ROOT, name, folder / name).digest == spec.load(ROOT, name).digest


def test_a_tokenizer_and_its_corpus_are_declared_from_nothing(tmp_path: Path) -> None:
    """A tokenizer is trained on a corpus whose counts are in its tokens: neither has to be declared first."""
    folder = tmp_path / "specs/data"
    folder.mkdir(parents=True)
    (tmp_path / "words.txt").write_text("\n\n".join(f"the {n} words of tale {n}" for n in range(99)))
    (folder / "tales.yaml").write_text("corpus: tales\nkind: text\nunit: tokens\nbuilder: file\npath: words.txt\n")
    bare = "tokenizer: own\nvocab: 264\ncorpora: [tales]\ncharacters: 999\n"
    (folder / "tokenizer.yaml").write_text(bare)
    with pytest.raises(UserError, match=r"tokenizer.yaml:1: digest: found nothing; .*`stages data tokenizer --accept`"):
        prepare.prepare(tmp_path, "tokenizer", tmp_path / "tokenizer")
    made = prepare.prepare(tmp_path, "tokenizer", tmp_path / "tokenizer", accept=True)
    (folder / "tokenizer.yaml").write_text(f"{bare}digest: {made.digest}\n")
    assert prepare.prepare(tmp_path, "tales", tmp_path / "tales", accept=True).size > 0

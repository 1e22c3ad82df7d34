"""`stages sign` and `verify`: what was signed is accepted; each tampering of files, lineage or envelope is named."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("securesystemslib")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from stages.commands.sign import _public, _signer, verify
from stages.commands.sign import sign as sign_stage
from stages.errors import UsageError, UserError
from stages.forensics import signed
from stages.store import attempts, files, finish, json_file, manifest, stage_record, trees
from stages.store.layout import Layout
from stages.store.manifest import Manifest, Parent
from tests.unit.forensics.conftest import REF, SCALE
from tests.unit.train import tiny

CHAIN = ("tiny/first", "tiny/second", "tiny/third")


def finished(layout: Layout, ref: str, key: str, parents: Mapping[str, Parent]) -> None:
    """A finished stage with two shards, metrics and a record, as a run leaves it."""
    with attempts.start(layout, ref, key, parents) as attempt:
        for name in ("model/llm/model.safetensors", "state/optimizer.safetensors", "metrics.csv"):
            files.make_dirs((attempt.result / name).parent)
            files.write(attempt.result / name, f"{ref} {name}".encode() * 40)
        stage_record.write(attempt.result, tiny.make("next_token"))
        json_file.write(attempt.result / "run.json", {"environment": {"id": "e" * 16, "code": "c" * 16}})
        shards = manifest.shards(attempt.result, ("model", "state", "metrics.csv"), attempt.written)
        record = Manifest(
            schema_version=1, stage=ref, key=key, tier="bit-exact", stand_in=False, parents=dict(parents),
            points_to=None, counters={"steps": 3, "consumed": 96, "clock": 96}, shards=shards,
        )  # fmt: skip
        finish.finish(attempt, record)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A private key, its public key, and somebody else's private key."""
    folder, out = tmp_path_factory.mktemp("keys"), []
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    for name in ("own", "other"):
        key = Ed25519PrivateKey.generate()
        (folder / f"{name}.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pub").write_bytes(public)
        out.append(folder / f"{name}.pem")
    return out[0], folder / "own.pub", out[1]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path, Path]) -> Path:
    """Three stages, each the child of the one before, all signed."""
    root = tmp_path_factory.mktemp("chain")
    layout, known = Layout(root, "mini"), dict[str, str]()
    for number, ref in enumerate(CHAIN):
        parents = manifest.parents(layout, known)
        finished(layout, ref, f"{number}" * 32, parents)
        known = {ref: f"{number}" * 32}
        signed.sign(layout, ref, _signer(keys[0]))
    return root


def found(root: Path, public: Path) -> list[str]:
    return list(signed.problems(Layout(root, "mini").stage(CHAIN[-1]), _public(public)))


def tampered_files(root: Path) -> Iterator[tuple[str, str, Callable[[Path], object]]]:
    """(name of the case, what has to be named, the tampering) for every file of every stage of a chain."""
    draw = random.Random(4)

    def flip(path: Path, place: int, bit: int) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1 << bit
        path.write_bytes(data)

    for ref in CHAIN:
        folder = Layout(root, "mini").stage(ref)
        for file in trees.files_under(folder):
            size = (folder / file).stat().st_size
            name = f"{ref}/{file}"
            for _ in range(12):
                place, bit = draw.randrange(size), draw.randrange(8)
                yield f"{name} bit {place}.{bit}", name, partial(flip, place=place, bit=bit)
            yield f"{name} cut", name, lambda path: path.write_bytes(path.read_bytes()[:-1])
            yield f"{name} longer", name, lambda path: path.write_bytes(path.read_bytes() + b"\0")
            yield f"{name} gone", name, lambda path: path.unlink()
        added = f"{ref}/model/llm/added.safetensors"
        yield f"{added} added", added, lambda path: path.write_bytes(b"more")


def test_what_was_signed_is_accepted_and_every_changed_file_is_named(
    chain: Path, tmp_path: Path, keys: tuple[Path, Path, Path]
) -> None:
    assert found(chain, keys[1]) == []
    shutil.copytree(chain, tmp_path / "copy")
    count = 0
    for case, name, tamper in tampered_files(chain):
        path = tmp_path / "copy/results/mini" / name
        tamper(path)
        said = found(tmp_path / "copy", keys[1])
        assert said, case
        assert all(str(path) in one for one in said), (case, said)
        count += 1
        path.unlink(missing_ok=True)
        if (chain / "results/mini" / name).is_file():
            shutil.copyfile(chain / "results/mini" / name, path)
    assert count >= 300
    assert found(tmp_path / "copy", keys[1]) == []


def payloads(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every scalar of a statement changed, one at a time, and every entry of it left out."""

    def walk(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, part in inside:
            yield (*path, name)
            yield from walk(part, (*path, name))

    for path in list(walk(told, ())):
        changed = json.loads(json.dumps(told))
        inner = changed
        for name in path[:-1]:
            inner = inner[name]
        value = inner[path[-1]]
        if isinstance(value, (dict, list)):
            del inner[path[-1]]
        else:
            inner[path[-1]] = (
                (not value) if isinstance(value, bool) else value + type(value)(1 if value == 0 else value)
            )
        yield "/".join(map(str, path)), changed


@pytest.mark.parametrize("ref", CHAIN)
def test_every_field_of_a_statement_that_is_changed_without_the_key_is_named(
    chain: Path, tmp_path: Path, keys: tuple[Path, Path, Path], ref: str
) -> None:
    shutil.copytree(chain, tmp_path / "copy")
    path = signed.envelope_of(Layout(tmp_path / "copy", "mini").stage(ref))
    envelope = json.loads(path.read_text())
    told, count = json.loads(base64.b64decode(envelope["payload"])), 0
    for case, changed in payloads(told):
        payload = base64.b64encode(json.dumps(changed, sort_keys=True).encode()).decode()
        path.write_text(json.dumps({**envelope, "payload": payload}))
        assert found(tmp_path / "copy", keys[1]) == [
            f"{path}: not signed with this key, or changed since it was signed"
        ], case
        count += 1
    assert count >= 25


def test_an_envelope_that_is_none_is_named(chain: Path, tmp_path: Path, keys: tuple[Path, Path, Path]) -> None:
    shutil.copytree(chain, tmp_path / "copy")
    path = signed.envelope_of(Layout(tmp_path / "copy", "mini").stage(CHAIN[1]))
    good = json.loads(path.read_text())
    other = {**good["signatures"][0], "keyid": "0" * 64}
    envelopes: tuple[Any, ...] = (
        {}, [], "x", {**good, "payload": "?"}, {**good, "signatures": []}, {**good, "signatures": [other]},
        {**good, "payloadType": "text/plain"}, {"payload": good["payload"]}, {**good, "payload": 7},
        {**good, "payloadType": None}, {**good, "signatures": [7]}, {**good, "signatures": {"keyid": "0", "sig": []}},
    )  # fmt: skip
    for wrong in envelopes:
        path.write_text(json.dumps(wrong))
        assert [one for one in found(tmp_path / "copy", keys[1]) if str(path) in one], wrong
    path.unlink()
    assert str(path) in found(tmp_path / "copy", keys[1])[0]


def test_a_stage_signed_by_somebody_else_is_not_accepted(
    chain: Path, tmp_path: Path, keys: tuple[Path, Path, Path]
) -> None:
    shutil.copytree(chain, tmp_path / "copy")
    layout = Layout(tmp_path / "copy", "mini")
    signed.sign(layout, CHAIN[0], _signer(keys[2]))
    (said,) = found(tmp_path / "copy", keys[1])
    assert "first.dsse.json: not signed with this key" in said


def test_a_parent_that_was_replaced_and_signed_anew_is_not_the_one_of_its_child(
    chain: Path, tmp_path: Path, keys: tuple[Path, Path, Path]
) -> None:
    """Whole, with seal and manifest and the right key: only the child's statement tells."""
    shutil.copytree(chain, tmp_path / "copy")
    layout = Layout(tmp_path / "copy", "mini")
    shutil.rmtree(layout.stage(CHAIN[0]))
    finished(layout, CHAIN[0], "9" * 32, {})
    signed.sign(layout, CHAIN[0], _signer(keys[0]))
    (said,) = found(tmp_path / "copy", keys[1])
    assert "is signed as key 99999" in said
    assert "its child was made from" in said


def test_a_result_moved_to_another_name_is_named(chain: Path, tmp_path: Path, keys: tuple[Path, Path, Path]) -> None:
    shutil.copytree(chain, tmp_path / "copy")
    place = Layout(tmp_path / "copy", "mini").stage(CHAIN[2])
    place.rename(place.with_name("fourth"))
    signed.envelope_of(place).rename(signed.envelope_of(place.with_name("fourth")))
    (said,) = signed.problems(place.with_name("fourth"), _public(keys[1]))
    assert said.endswith("its statement is about tiny/third")


def test_what_is_damaged_is_not_signed(chain: Path, tmp_path: Path, keys: tuple[Path, Path, Path]) -> None:
    shutil.copytree(chain, tmp_path / "copy")
    layout = Layout(tmp_path / "copy", "mini")
    (layout.stage(CHAIN[1]) / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"tiny/second is not signed: .*run\.json: expected blake3"):
        signed.sign(layout, CHAIN[1], _signer(keys[0]))


@given(st.dictionaries(st.text("abc/", min_size=1), st.text("01", min_size=1), min_size=1, max_size=9), st.data())
def test_the_root_depends_on_every_name_and_digest_and_on_nothing_else(
    tree: dict[str, str], data: st.DataObject
) -> None:
    assert signed.root(dict(reversed(tree.items()))) == signed.root(tree)
    name = data.draw(st.sampled_from(sorted(tree)))
    others = [
        {**tree, name: tree[name] + "0"},
        {**tree, "d": "0"},
        {(n + "x" if n == name else n): d for n, d in tree.items()},
    ]
    if len(tree) > 1:
        others.append({n: d for n, d in tree.items() if n != name})
    assert len({signed.root(tree), *map(signed.root, others)}) == 1 + len(others)


def test_what_is_no_finished_stage_is_refused(copy: Path, keys: tuple[Path, Path, Path]) -> None:
    for name in ("first", "/toy/first", "../first", "data/chats"):
        with pytest.raises(UsageError, match=r"no stage|no pipeline|allowed: pipeline/stage"):
            sign_stage(name, SCALE, keys[0])
    for folder in ("/", "/tmp", "results", "specs/toy/pipeline.yaml", "results/nothing/of/this"):
        with pytest.raises(UsageError, match=r"allowed: the directory of a finished stage"):
            verify(Path(folder), keys[1], 0)


def test_keys_that_cannot_be_read_are_refused(copy: Path, keys: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--key: .*own\.pub is not a private key in PEM"):
        sign_stage(REF, SCALE, keys[1])
    with pytest.raises(UsageError, match=r"--key: .*nothing cannot be read: No such file or directory"):
        verify(copy / "results" / SCALE / REF, tmp_path / "nothing", 0)


@pytest.mark.parametrize(
    ("ref", "whole", "said"),
    [
        (CHAIN[1], True, "its child was made from"),  # another result under the same key, as a rerun may leave it
        (CHAIN[2], False, "its subject is not the root of the files that it lists"),
    ],
)
def test_a_statement_that_does_not_fit_is_named_whoever_signed_it(
    ref: str, whole: bool, said: str, chain: Path, tmp_path: Path, keys: tuple[Path, Path, Path]
) -> None:
    from securesystemslib.dsse import Envelope

    shutil.copytree(chain, tmp_path / "copy")
    path = signed.envelope_of(Layout(tmp_path / "copy", "mini").stage(ref))
    statement = json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))
    statement["predicate"]["files"]["metrics.csv"] = "0" * 64
    if whole:
        statement["subject"][0]["digest"]["blake3"] = signed.root(statement["predicate"]["files"])
    envelope = Envelope(json.dumps(statement).encode(), signed.PAYLOAD, {})
    envelope.sign(_signer(keys[0]))
    json_file.write(path, envelope.to_dict())
    assert any(said in one for one in found(tmp_path / "copy", keys[1]))

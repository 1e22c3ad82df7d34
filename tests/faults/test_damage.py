"""Every kind of damage to every kind of file: named, with both digests, and with what rebuilds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from stages.commands.parents import refuse_damaged
from stages.errors import UserError
from stages.store import attempts, damage, done, files, finish, manifest, partials, seal
from stages.store.layout import Layout
from tests.edits import replaced

KEY, REF = "a" * 32, "toy/one"
RESULT = (
    "model/language/model.safetensors",
    "model/language/config.json",
    "state/optimizer.safetensors",
    "state/counters.json",
    "metrics.csv",
    "eval.json",
    "README.md",
    "timing.csv",
    "stage.json",
    "run.json",
)
PARTIAL = ("weights.safetensors", "optimizer.safetensors", "counters.json", "metrics.csv", "timing.csv", "parents.json")
SHARDS = ("model", "state", "metrics.csv", "eval.json", "README.md")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_first(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 0x20
    path.write_bytes(data)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def exchange(path: Path) -> None:
    """Another file of the same size: what a stale copy looks like."""
    path.write_bytes(bytes(reversed(path.read_bytes())))


DAMAGE = (flip, flip_first, shorten, lengthen, exchange, os.unlink)


def content(name: str) -> bytes:
    return f"what {name} holds\n".encode()


def finished(layout: Layout) -> Path:
    with attempts.start(layout, REF, KEY, {}) as attempt:
        for name in RESULT:
            files.write_atomic(attempt.result / name, content(name))
        record = manifest.Manifest(
            schema_version=1,
            stage=REF,
            key=KEY,
            tier="bit-exact",
            stand_in=False,
            parents={},
            points_to=None,
            counters={"steps": 3},
            shards=manifest.shards(attempt.result, SHARDS, attempt.written),
        )
        finish.finish(attempt, record)
    return layout.stage(REF)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", [*RESULT, manifest.NAME, seal.NAME])
def test_damage_to_a_finished_stage(layout: Layout, name: str, damage: Callable[[Path], object]) -> None:
    path = finished(layout) / name
    before = blake3(path.read_bytes()).hexdigest()
    damage(path)
    verdict = done.is_done(layout, REF, KEY, {}, deep=True)
    assert verdict.state == "damaged"
    assert str(path) in verdict.why
    assert "`stages run toy/one --scale mini` rebuilds it" in verdict.why
    after = blake3(path.read_bytes()).hexdigest() if path.exists() else "found nothing"
    if name != seal.NAME:  # nothing holds the seal's own file digest: it is judged by the digest that it carries
        assert before in verdict.why
        assert after in verdict.why


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", [*RESULT, manifest.NAME])
def test_what_was_damaged_aside_is_not_put_back(layout: Layout, name: str, damage: Callable[[Path], object]) -> None:
    aside = layout.run(KEY) / "final"
    finished(layout).rename(aside)
    damage(aside / name)
    assert not finish.restore(layout, REF, KEY, {})


@pytest.mark.parametrize("name", [*RESULT, manifest.NAME, seal.NAME])
def test_every_single_bit_of_a_small_file_counts(layout: Layout, name: str) -> None:
    path = finished(layout) / name
    data = path.read_bytes()
    for bit in range(0, 8 * len(data), max(1, len(data) // 8)):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        path.write_bytes(wrong)
        assert not done.is_done(layout, REF, KEY, {}, deep=True).done, f"bit {bit}"


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", [*PARTIAL, partials.NAME])
def test_damage_to_a_checkpoint(layout: Layout, name: str, damage: Callable[[Path], object]) -> None:
    def write(folder: Path) -> None:
        for file in PARTIAL:
            files.write(folder / file, content(file))

    with attempts.start(layout, REF, KEY, {}) as attempt:
        whole = partials.save(partials.path(attempt, 10), write)
        broken = partials.save(partials.path(attempt, 20), write)
    before = blake3((broken / name).read_bytes()).hexdigest()
    damage(broken / name)
    assert partials.latest(layout, KEY, {}) == whole
    verdict = done.is_done(layout, REF, KEY, {}, deep=True)
    assert str(broken) in verdict.why
    assert "goes on from the last whole one" in verdict.why
    if name != partials.NAME:
        assert str(broken / name) in verdict.why
        assert before in verdict.why


def test_a_child_is_not_trained_on_damaged_weights(layout: Layout) -> None:
    weights = finished(layout) / RESULT[0]
    refuse_damaged(layout, REF)
    flip(weights)
    assert done.is_done(layout, REF, KEY, {}).done  # the quick look does not see it
    with pytest.raises(UserError, match=r"toy/one is damaged: .*blake3 .*`stages run toy/one --scale mini` rebuilds"):
        refuse_damaged(layout, REF)


def test_a_child_is_not_trained_below_a_parent_whose_seal_or_record_is_damaged(layout: Layout) -> None:
    """A child reads more of its parent than weights: counters in the manifest, the stage that it was run with."""
    folder = finished(layout)
    for name, old, new in ((manifest.NAME, b'"steps": 3', b'"steps": 2'), ("stage.json", b"what", b"whbt")):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(replaced(data, old, new))
        assert data != (folder / name).read_bytes()
        assert done.is_done(layout, REF, KEY, {}).done
        with pytest.raises(UserError, match=f"toy/one is damaged: .*{name}: expected blake3"):
            refuse_damaged(layout, REF)
        (folder / name).write_bytes(data)
        damage.note(folder, "")


@pytest.mark.parametrize("of", ["an older run", "another key", "another stage"])
def test_a_stale_manifest_is_not_believed(of: str, layout: Layout) -> None:
    """A manifest that was whole once, in a folder that it does not belong to: the sizes agree."""
    folder = finished(layout)
    record = manifest.read(folder / manifest.NAME)
    changes: dict[str, dict[str, Any]] = {
        "an older run": {"shards": [shard.model_copy(update={"blake3": "0" * 64}) for shard in record.shards]},
        "another key": {"key": "b" * 32},
        "another stage": {"stage": "toy/two"},
    }
    (folder / manifest.NAME).write_bytes(manifest.encode(record.model_copy(update=changes[of])))
    verdict = done.is_done(layout, REF, KEY, {}, deep=True)
    assert verdict.state == "damaged"
    assert f"{folder / manifest.NAME}: expected blake3 " in verdict.why
    assert "rebuilds it" in verdict.why
    with pytest.raises(UserError, match="toy/one is damaged"):
        refuse_damaged(layout, REF)
    if of != "an older run":
        assert not done.is_done(layout, REF, KEY, {}).done

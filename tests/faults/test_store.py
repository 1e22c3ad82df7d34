"""What befalls results on disk, and what the store makes of it."""

import os
from pathlib import Path

import pytest

from stages.store import done, files, finish, manifest, markers
from stages.store.layout import Layout
from tests.unit.store.conftest import A, Run, verdict

B, C = "b" * 32, "c" * 32


WEIGHTS = "model/model.safetensors"


def test_a_finished_stage_is_done_also_when_every_digest_is_read_again(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    assert done.is_done(layout, "toy/one", A, {}, deep=True).done


def test_nothing_there_is_missing(layout: Layout) -> None:
    assert verdict(layout).state == "missing"
    assert verdict(layout).command == "stages run toy/one --scale mini"


def test_a_truncated_shard_is_named_with_both_sizes(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    os.truncate(layout.stage("toy/one") / WEIGHTS, 3)
    assert verdict(layout).state == "damaged"
    assert f"{WEIGHTS}: expected 7 bytes, blake3 " in verdict(layout).why
    assert "found 3 bytes" in verdict(layout).why


def test_a_missing_shard_is_named(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    (layout.stage("toy/one") / WEIGHTS).unlink()
    assert f"{WEIGHTS}: expected a file of 7 bytes, blake3 " in verdict(layout).why
    assert "found nothing" in verdict(layout).why


def test_a_flipped_bit_is_found_by_a_deep_look_only(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    (layout.stage("toy/one") / WEIGHTS).write_bytes(b"weightr")
    assert verdict(layout).done
    deep = done.is_done(layout, "toy/one", A, {}, deep=True)
    assert deep.state == "damaged"
    assert "blake3" in deep.why
    assert WEIGHTS in deep.why


def test_another_key_is_stale_and_says_both_keys(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    assert verdict(layout, key=B).state == "stale"
    assert "aaaaaaaaaaaa" in verdict(layout, key=B).why
    assert "bbbbbbbbbbbb" in verdict(layout, key=B).why


def test_a_parent_with_another_result_makes_its_child_stale(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    run("toy/two", B, {"toy/one": A})
    assert verdict(layout, "toy/two", B, {"toy/one": A}).done
    layout.stage("toy/one").rename(layout.root / "aside")
    assert verdict(layout, "toy/two", B, {"toy/one": A}).done  # its parent's rerun is to give the bits it was built on
    run("toy/one", A, content=b"other bits")
    assert verdict(layout, "toy/two", B, {"toy/one": A}).why == "parent toy/one was run again with another result"


def test_a_parent_run_again_with_the_same_bits_leaves_its_child_done(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    run("toy/two", B, {"toy/one": A})
    layout.stage("toy/one").rename(layout.root / "aside")
    run("toy/one", A)
    assert verdict(layout, "toy/two", B, {"toy/one": A}).done


def test_a_manifest_that_is_not_json_is_damage_not_a_traceback(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    layout.manifest("toy/one").write_text("{")
    assert verdict(layout).state == "damaged"
    assert "not JSON" in verdict(layout).why


def test_a_result_that_was_made_under_another_name_counts_by_its_key(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    layout.stage("toy/one").rename(layout.stage("toy/two"))
    assert verdict(layout, "toy/two").done
    assert verdict(layout, "toy/two", B).state == "stale"


def test_going_back_to_an_earlier_key_puts_its_result_back_without_a_run(layout: Layout, run: Run) -> None:
    digest = run("toy/one", A)
    run("toy/one", B, content=b"new weights")
    assert (layout.run(A) / "final" / "manifest.json").is_file()
    assert finish.restore(layout, "toy/one", A, {})
    assert verdict(layout).done
    assert manifest.read_with_digest(layout.manifest("toy/one"))[1] == digest
    assert (layout.run(B) / "final" / "manifest.json").is_file()


def test_a_damaged_earlier_result_is_not_put_back(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    run("toy/one", B)
    (layout.run(A) / "final" / WEIGHTS).write_bytes(b"weightr")
    assert not finish.restore(layout, "toy/one", A, {})
    assert verdict(layout, key=B).done


def test_an_earlier_result_of_other_parents_is_not_put_back(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    run("toy/two", B, {"toy/one": A})
    run("toy/two", C, {"toy/one": A})
    layout.stage("toy/one").rename(layout.root / "aside")
    run("toy/one", A, content=b"other bits")
    assert not finish.restore(layout, "toy/two", B, manifest.parents(layout, {"toy/one": A}))


def test_nothing_finished_is_lost_when_the_same_key_finishes_twice(layout: Layout, run: Run) -> None:
    for content in (b"1", b"2", b"3"):
        run("toy/one", A, content=content)
    aside = sorted(path.name for path in layout.run(A).glob("final*"))
    assert aside == ["final", "final-0002"]
    assert {(layout.run(A) / name / WEIGHTS).read_bytes() for name in aside} == {b"1", b"2"}


def test_a_kill_between_the_two_renames_of_a_finish_loses_neither_result(
    layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("toy/one", A)
    rename = files.disk.rename

    def killed(source: Path, target: Path) -> None:
        if Path(target) == layout.stage("toy/one"):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(files.disk, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        run("toy/one", B, content=b"new weights")
    monkeypatch.setattr(files.disk, "rename", rename)
    assert verdict(layout, key=B).state == "failed"
    assert finish.restore(layout, "toy/one", B, {})
    assert verdict(layout, key=B).done
    assert finish.restore(layout, "toy/one", A, {})


def test_markers_are_exactly_those_of_what_is_done(layout: Layout) -> None:
    old, kept, new = layout.marker("toy/one", A), layout.marker("toy/two", B), layout.marker("toy/one", C)
    markers.place(old)
    markers.place(kept)
    before = kept.stat().st_mtime_ns
    markers.refresh(layout, [kept, new])
    assert not old.exists()
    assert new.exists()
    assert kept.stat().st_mtime_ns == before

"""When a result is to be evaluated again, and how its evaluations are replaced so that it is whole at any moment."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from stages.spec.resolved import Stage
from stages.store import done, evaluated, evaluated_by, files, finish, json_file, manifest, revise, seal, stage_record
from stages.store.layout import Layout
from tests.edits import replaced
from tests.unit.store.conftest import A, Run, verdict
from tests.unit.train import tiny

STAGE = tiny.make("next_token")
WEIGHTS = "model/model.safetensors"


def asking(*names: str, **changes: object) -> Stage:
    return STAGE.model_copy(update={"evaluation": STAGE.evaluation.model_copy(update={"names": names, **changes})})


def recorded(folder: Path, *names: str, **changes: object) -> Path:
    (folder / evaluated.NAME).write_bytes(evaluated.encode(asking(*names, **changes)))
    return folder


def test_what_was_asked_for_is_not_asked_for_again(tmp_path: Path) -> None:
    recorded(tmp_path, "needle", "loops")
    assert evaluated.outdated(tmp_path, asking("loops", "needle")) == ""


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (asking("needle", "loops", "answers"), "evaluate: answers added"),
        (asking("needle"), "evaluate: loops dropped"),
        (asking("needle", "answers"), "evaluate: answers added; loops dropped"),
        (asking("needle", "loops", samples=7), f"evaluate: samples {STAGE.evaluation.samples}, now 7"),
    ],
)
def test_another_list_or_number_is_a_reason_in_words(now: Stage, why: str, tmp_path: Path) -> None:
    assert evaluated.outdated(recorded(tmp_path, "needle", "loops"), now) == why


def test_other_code_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(tmp_path, "needle")
    monkeypatch.setattr(evaluated_by, "code", lambda: "0" * 16)
    assert evaluated.outdated(tmp_path, asking("needle")) == "evaluate: the code of evaluations changed"


@pytest.mark.parametrize("then", evaluated_by.SAME)
def test_code_that_computes_the_same_numbers_is_no_reason(then: str, tmp_path: Path) -> None:
    path = recorded(tmp_path, "needle") / evaluated.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "code": then}))
    assert evaluated.outdated(tmp_path, asking("needle")) == ""
    assert evaluated_by.called(then) == evaluated_by.SAME[0], "the oldest, in records of every version"
    path.write_text(json.dumps({**json.loads(path.read_text()), "code": then[::-1]}))
    assert evaluated.outdated(tmp_path, asking("needle")) == "evaluate: the code of evaluations changed"


def test_who_edits_an_evaluation_says_whether_its_numbers_are_the_same() -> None:
    assert evaluated_by.SAME[-1] == evaluated_by.digest(), (
        "The code of evaluations has changed. Where it computes the numbers that it did (tests/snapshot), put this "
        "digest at the end of SAME in stages/store/evaluated_by.py; else leave it alone there, and every result of "
        "before is evaluated again."
    )


@pytest.mark.parametrize(
    ("now", "names"),
    [
        (asking("loops", "needle"), ()),
        (asking("needle"), ()),
        (asking("answers", "needle"), ("answers",)),
        (asking("answers", "needle", samples=7), ("answers", "needle")),
        (asking("needle", context=65), ("needle",)),
    ],
)
def test_only_what_was_added_is_computed_unless_something_else_changed(
    now: Stage, names: tuple[str, ...], tmp_path: Path
) -> None:
    assert evaluated.lacking(recorded(tmp_path, "needle", "loops"), now) == names


def test_a_record_that_cannot_be_read_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / evaluated.NAME).write_text("{")
    assert "evaluation.json" in evaluated.outdated(tmp_path, asking("needle"))


def test_a_record_that_this_user_may_not_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluating all again would be no cure of it."""

    def refuse(path: Path, *limit: int) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(json_file, "read_bytes", refuse)
    with pytest.raises(PermissionError, match=evaluated.NAME):
        evaluated.outdated(recorded(tmp_path, "needle"), asking("needle"))


def test_a_result_of_before_there_were_records_is_compared_by_its_stage(tmp_path: Path) -> None:
    stage_record.write(tmp_path, asking("needle"))
    assert evaluated.outdated(tmp_path, asking("needle")) == ""
    assert evaluated.outdated(tmp_path, asking("needle", "loops")) == "evaluate: loops added"


def test_what_hands_on_an_import_is_evaluated_again_on_the_corpora_that_the_import_has_now(tmp_path: Path) -> None:
    (phase,) = STAGE.phases
    other = phase.model_copy(update={"document_mask": not phase.document_mask})
    handed = {"phases": (), "parents": ("toy/base",)}
    now = asking("needle", on_above=phase).model_copy(update=handed)
    (tmp_path / evaluated.NAME).write_bytes(evaluated.encode(now))
    assert evaluated.outdated(tmp_path, now) == ""
    moved = asking("needle", "loops", on_above=other).model_copy(update=handed)
    assert evaluated.outdated(tmp_path, moved) == "evaluate: loops added; what it is evaluated on"
    assert evaluated.lacking(tmp_path, moved) == ("needle", "loops")
    assert stage_record.evaluated_on(Layout(tmp_path, "mini"), moved) == (other,), "and not on what its parent ran with"
    recorded(tmp_path, "needle")  # by a version that took down nothing of it
    assert evaluated.outdated(tmp_path, moved) == "evaluate: loops added"
    assert evaluated.lacking(tmp_path, moved) == ("loops",)


def test_what_evaluates_nothing_is_never_outdated(tmp_path: Path) -> None:
    assert evaluated.outdated(tmp_path, asking()) == ""
    assert evaluated.outdated(tmp_path, asking("needle").model_copy(update={"kind": "keep"})) == ""
    assert evaluated.outdated(tmp_path, asking("needle").model_copy(update={"phases": ()})) == ""


SOURCE = '"""What it is."""\nx = "#1"  # one\n\n\ndef f():\n    """Two\n    lines."""\n    return x\n'


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# one", "# another comment", True),
        ("What it is", "What else it is", True),
        ("    lines.", "    lines,\n    and more.", True),
        ("\n\n\ndef", "\n\ndef", True),
        ("x = ", "from a import (\n    b,\n)\nimport c\nx = ", True),
        ('"#1"', '"#2"', False),
        ("return x", "return x + x", False),
    ],
)
def test_comments_docstrings_and_imports_are_no_code(old: str, new: str, same: bool) -> None:
    assert (evaluated_by.bare(replaced(SOURCE, old, new)) == evaluated_by.bare(SOURCE)) == same


def test_the_code_of_every_evaluation_counts() -> None:
    package = Path(evaluated_by.__file__).parents[1]
    counted = {path.name for pattern in evaluated_by.SOURCES for path in package.glob(pattern)}
    assert {"language.py", "needle.py", "answers.py", "pictures.py", "run.py", "subject.py", "heldout.py"} <= counted


@pytest.fixture
def result(layout: Layout, run: Run) -> Layout:
    """A result in place whose manifest lists its evaluations."""
    run("toy/one", A)
    folder = layout.stage("toy/one")
    (folder / "eval.json").write_text("old")
    record = manifest.read(folder / manifest.NAME)
    listed = record.model_copy(update={"shards": manifest.shards(folder, ["model", "eval.json"])})
    (folder / "seal.json").unlink()
    seal.write(folder, manifest.NAME, manifest.encode(listed), listed)
    manifest.write(folder, listed)
    assert done.is_done(layout, "toy/one", A, {}, deep=True).done
    return layout


def replace(layout: Layout, text: str) -> None:
    revise.replace(layout, "toy/one", A, {"eval.json": text.encode()})


def test_a_replaced_file_is_vouched_for_by_the_seal_and_all_else_stays(result: Layout) -> None:
    folder = result.stage("toy/one")
    before = manifest.read_with_digest(folder / manifest.NAME), (folder / WEIGHTS).stat().st_ino
    for text in ("new", "newer"):
        replace(result, text)
        assert (folder / "eval.json").read_text() == text
        assert done.is_done(result, "toy/one", A, {}, deep=True).done
        assert (manifest.read_with_digest(folder / manifest.NAME), (folder / WEIGHTS).stat().st_ino) == before
    assert not list(result.run(A).glob("final*")), "what was replaced lies aside"
    assert not list(result.run(A).glob(".*.tmp"))


def test_the_seal_speaks_for_what_was_replaced_and_for_no_other_file_of_the_manifest(result: Layout) -> None:
    replace(result, "new")
    folder = result.stage("toy/one")
    assert sorted(seal.read(folder).files) == ["eval.json", "manifest.json", "stage.json"]
    revise.replace(result, "toy/one", A, {"evaluation.json": b"{}"})
    assert sorted(seal.read(folder).files) == ["eval.json", "evaluation.json", "manifest.json", "stage.json"]
    assert done.is_done(result, "toy/one", A, {}, deep=True).done


def test_results_that_lay_aside_before_stay_and_what_is_replaced_goes(result: Layout, run: Run) -> None:
    other = result.run(A) / "final-0007"
    other.mkdir()
    replace(result, "new")
    assert sorted(path.name for path in result.run(A).glob("final*")) == ["final-0007"]


def test_a_disk_that_does_not_remove_what_was_replaced_is_told_of_and_the_new_is_in_place(
    result: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = files.disk.unlink

    def refuse(path: Path) -> None:
        if "final" in path.parts:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        unlink(path)

    monkeypatch.setattr(files.disk, "unlink", refuse)
    with pytest.raises(files.WriteError, match="final: cannot be written"):
        replace(result, "new")
    assert (result.stage("toy/one") / "eval.json").read_text() == "new"


def test_a_file_that_is_gone_is_no_reason_to_copy_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        revise.share(tmp_path / "gone", tmp_path / "there" / "a")


def test_damage_of_a_replaced_file_is_found(result: Layout) -> None:
    replace(result, "new")
    path = result.stage("toy/one") / "eval.json"
    path.write_text("nEw")
    assert done.is_done(result, "toy/one", A, {}, deep=True).state == "damaged"
    path.unlink()
    assert verdict(result).state == "damaged"


def test_a_file_that_was_not_replaced_is_vouched_for_by_the_manifest(result: Layout) -> None:
    (result.stage("toy/one") / "eval.json").write_text("longer")
    assert verdict(result).state == "damaged"


def test_a_kill_at_any_rename_leaves_the_old_result_or_the_new_one(
    result: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, left = files.disk.rename, 0

    def killed(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(files.disk, "rename", killed)
    for allowed in range(20):
        left = allowed
        try:
            replace(result, f"after {allowed}")
        except KeyboardInterrupt:
            left = 10**6
            assert verdict(result).done or finish.restore(result, "toy/one", A, {})
            assert done.is_done(result, "toy/one", A, {}, deep=True).done
        else:
            break
    else:
        pytest.fail("it was never let finish")
    assert allowed >= 3
    assert (result.stage("toy/one") / "eval.json").read_text() == f"after {allowed}"


def test_what_is_asked_for_is_written_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluated_by, "code", lambda: "0" * 16)
    fields = json.loads(evaluated.encode(asking("needle", "loops", samples=7, context=64, old_context=None)))
    assert fields == {
        "names": ["loops", "needle"], "context": 64, "old_context": None, "samples": 7, "code": "0" * 16,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"context": 65}, "evaluate: context 64, now 65"),
        ({"old_context": 32}, "evaluate: old_context None, now 32"),
        ({"samples": 8, "context": 65}, "evaluate: samples 7, now 8; context 64, now 65"),
    ],
)
def test_each_length_and_number_is_told_before_and_now(change: dict[str, int], why: str, tmp_path: Path) -> None:
    then = {"samples": 7, "context": 64, "old_context": None}
    recorded(tmp_path, "needle", **then)
    assert evaluated.outdated(tmp_path, asking("needle", **(then | change))) == why


def test_what_stands_first_on_a_line_is_code_and_what_stands_last_is_not() -> None:
    assert evaluated_by.bare("if x:\n    y = 1   # one\n\n\nz = 2 \n") == "if x:\n    y = 1\nz = 2"
    assert evaluated_by.bare("if x:\n    y\n    z\n") != evaluated_by.bare("if x:\n    y\nz\n")

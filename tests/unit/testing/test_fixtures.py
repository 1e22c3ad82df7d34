"""`curve`, `twin` and `layout` for loops of others: docs/testing-any-loop.md as it stands, and what they refuse."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml

from tests import page
from tests.edits import edit, replaced
from tests.unit.testing.session import Session

PAGE = page.Page("testing-any-loop.md").files()
(SCREEN,) = (text for language, text in page.Page("testing-any-loop.md").blocks() if language == "text")
LOOP, TESTS = "my_loop.py", "test_my_loop.py"
CURVE = "curves/test_my_loop/test_curve.yaml"


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Session:
    """The page's loop and its tests in a directory that is no project of ours."""
    for name in (LOOP, TESTS):
        (tmp_path / name).write_text(PAGE[name])
    return Session(tmp_path, monkeypatch, capsys)


def change(session: Session, old: str, new: str, file: str = LOOP) -> None:
    edit(session.folder / file, old, new)


def assert_failed(found: tuple[int, str], *parts: str) -> None:
    code, said = found
    assert code == 1, said
    assert all(part in said for part in parts), said
    assert "Traceback" not in said
    assert "INTERNALERROR" not in said


def test_the_page_is_followed_and_a_change_of_the_loop_is_reported(session: Session) -> None:
    assert_failed(session(), f"{CURVE}: there is no golden", f"pytest {TESTS}::test_curve --stages-update")
    code, said = session.update()
    assert (code, f"{CURVE}  new" in said) == (0, True), said
    code, said = session()
    assert (code, "2 passed" in said) == (0, True), said
    change(session, "lr=1e-2", "lr=1.5e-2")
    assert_failed(
        session(), "first differs at step 1: learning rate", "the schedule is at another place, or is another",
        "learning rate by at most 0.00167 (0.5 relative)", "reason: as it should be", "my_loop.py",
        "1 failed, 1 passed",
    )  # fmt: skip
    assert "learning rate  1           learning rate by at most" in session.update()[1]
    assert session()[0] == 0
    assert session.update()[1].count("no golden has changed") == 1


def test_the_environment_of_a_golden_has_the_threads_of_the_loop_and_not_of_the_shell(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A golden made in CI, which sets OMP_NUM_THREADS, counts in a shell that does not."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    session.update("-k", "curve")
    monkeypatch.delenv("OMP_NUM_THREADS")
    code, said = session("-k", "curve")
    assert (code, "1 passed" in said, "not seen before" in said) == (0, True, False), said


def test_a_loop_that_does_not_bring_back_the_generator(session: Session) -> None:
    change(session, '        torch.set_rng_state(saved["rng"])\n', "")
    assert_failed(session("-k", "twin", "--stages-seed", "7"), SCREEN)  # as the page shows it


def test_a_twin_names_the_tensors_that_were_lost(session: Session) -> None:
    change(session, "nn.Dropout(0.1)", "nn.BatchNorm1d(16)")
    assert session("-k", "twin")[0] == 0
    load = "            part.load_state_dict(saved[name])\n"
    change(session, load, f"{load}        model[1].running_var.fill_(1)\n")
    assert_failed(
        session("-k", "twin"), "first differs at step", ": buffers", "buffers: 1 of 3 differ, 1.running_var",
    )  # fmt: skip
    change(session, "model[1].running_var.fill_(1)", "optimizer.state[model[0].bias]['exp_avg'].zero_()")
    assert_failed(session("-k", "twin"), ": optimizer state", "optimizer state: 1 of 18 differ, 0.bias.exp_avg")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('(folder / "last.pt").exists()', "False", "it did not go on from the checkpoint in its folder"),
        ("range(done, until)", "range(done, until - 1)", "called watch 5 times, not 6"),
        ("loss.backward()", "loss = loss * float('nan'); loss.backward()", "the loss of step 1 is nan"),
        ("batch = DATA", "batch = torch.rand(8, 1, generator=NEW()) + DATA", "not deterministic: run twice"),
        ("        loss.backward()\n", "", "no parameter has a gradient"),
        ("optimizer=optimizer)", "optimizer=optimizer, ema=object())", "watch was given a object"),
    ],
    ids=["from the beginning", "too few steps", "nan", "not deterministic", "too early", "unknown"],
)
def test_what_cannot_be_compared_says_why(session: Session, old: str, new: str, said: str) -> None:
    change(session, old, new)
    change(session, "DATA = ", "import itertools\nCOUNT = itertools.count()\nNEW = lambda: torch.Generator()"
           ".manual_seed(next(COUNT))\nDATA = ")  # fmt: skip
    assert_failed(session("-k", "twin"), said)


def test_a_curve_of_a_loop_that_is_not_deterministic_is_not_written(session: Session) -> None:
    change(session, "    torch.manual_seed(1)\n", "    torch.seed()\n")
    assert_failed(session.update("-k", "curve"), "the loop is not deterministic", "first differs at step 1: parameters")
    assert not (session.folder / "curves").exists()


def test_a_golden_that_no_test_uses_fails_and_an_update_removes_it(session: Session) -> None:
    code, said = session.update()
    assert code == 0, said
    for name in ("curves/test_my_loop/test_gone.yaml", "curves/test_gone/test_curve.yaml"):
        (session.folder / name).parent.mkdir(exist_ok=True)
        (session.folder / name).write_bytes((session.folder / CURVE).read_bytes())
    other = session.folder / "curves/of_somebody/else.yaml"
    other.parent.mkdir()
    other.write_text("a: 1\n")
    assert_failed(session(), "goldens of no test", "test_my_loop/test_gone.yaml", "curves/test_gone/test_curve.yaml")
    assert session("-k", "twin")[0] == 0
    assert session(f"{TESTS}::test_twin")[0] == 0
    assert session.update()[0] == 0
    left = [path.relative_to(session.folder).as_posix() for path in session.folder.rglob("*.yaml")]
    assert sorted(left) == ["curves/of_somebody/else.yaml", CURVE]
    assert session()[0] == 0


def test_updates_are_refused_in_ci_and_without_a_reason(session: Session) -> None:
    session.patch.setattr("sys.stdin", io.StringIO())
    code, said = session("--stages-update")
    assert (code, "asks for a reason" in said) == (4, True), said
    session.patch.setenv("CI", "true")
    code, said = session.update()
    assert (code, "refused where CI is set" in said) == (4, True), said
    assert not (session.folder / "curves").exists()


def test_layouts_are_the_same_run_or_what_differs_is_named(session: Session) -> None:
    halves = replaced(PAGE[LOOP].split("def train")[1], "        loss.backward()\n",
        "        for part in batch.split(4):\n"
        "            ((model(part) - part.sum(1, keepdim=True)).square().mean() / 2).backward()\n")  # fmt: skip
    (session.folder / LOOP).write_text(PAGE[LOOP] + "\n\ndef halves" + halves)
    edit(session.folder / LOOP, "Dropout(0.1)", "Dropout(0.0)", everywhere=True)
    body = "from my_loop import halves, train\n\n\ndef test_it(layout):\n    layout(train, halves, steps=3{})\n"
    (session.folder / TESTS).write_text(body.format(', tier="same-order"'))
    assert session()[0] == 0
    (session.folder / TESTS).write_text(body.format(""))
    assert_failed(session(), "train and halves are not the same run: first differs at step 1: gradient")
    (session.folder / TESTS).write_text(body.format(', tier="bit_exact"'))
    assert_failed(session(), "layout: tier: found 'bit_exact'; allowed: 'bit-exact' or 'same-order'.")
    (session.folder / TESTS).write_text(body.format(', tier="same-order"'))
    change(session, ".mean() / 2).backward()", ".mean()).backward()")
    assert_failed(session(), "are not the same run, to 1e-05: first differs at step 1: gradient norm")


def test_goldens_of_other_environments_edited_ones_and_directories_that_cannot_be_written(session: Session) -> None:
    assert session.update("-k", "curve")[0] == 0
    path = session.folder / CURVE
    ((_, entry),) = yaml.safe_load(path.read_text())["environments"].items()
    step = entry["golden"]["steps"][2]
    loss, data = float.fromhex(step["loss"]), step["data"]

    def elsewhere(**changes: str) -> tuple[int, str]:
        step.update(changes)
        path.write_text(yaml.safe_dump({"environments": {"another": entry}}, sort_keys=False))
        return session("-k", "curve")

    code, said = elsewhere(loss=(loss * (1 + 1e-6)).hex(), gradient="0" * 12)
    assert (code, "not seen before; its first 3 steps are within 1e-05 of another" in said) == (0, True), said
    assert_failed(elsewhere(loss=(loss * (1 + 1e-4)).hex()), "no golden of this environment, and farther than 1e-05")
    assert_failed(elsewhere(loss=loss.hex(), data="64 other"), "no golden of this environment", "3: data")
    assert_failed(elsewhere(data=data, loss="abc"), "no golden of this environment")
    path.write_text(path.read_text().rpartition(":")[0])  # cut behind the last key: what ends at a value may be YAML
    assert_failed(session("-k", "curve"), "restore it, or delete it and update")
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("")
    assert_failed(session.update("-k", "curve"), "0 of 1 goldens written, then:")

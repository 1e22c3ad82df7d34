"""`make device` without a GPU: refused in a line; what fails in a section is a row, and the page is whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread

import pytest
import torch

from benchmarks.device import __main__ as device
from benchmarks.device import cuda_tests, pipelines, process, record
from benchmarks.device.process import Process
from benchmarks.device.rows import NEAR, Goal, Row, Rows, against, met, read
from benchmarks.device.sections import SECTIONS, Section, chosen, groups
from stages.contract import ledger
from stages.spec.project import Project
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.device", *words], cwd=ROOT, env=environ, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_a_line() -> None:
    done = command()
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no GPU" in done.stderr


def test_without_a_package_it_says_so_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.needs, "CARRIED", {"blake3_of_another_name": "blake3"})
    assert "blake3_of_another_name" in device.unfit(dry=True)


def test_a_rehearsal_does_not_write_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert device.main(["--dry", "--out", str(device.RECORD)]) == 2
    assert "a rehearsal is no record" in capsys.readouterr().err


def test_some_sections_do_not_write_the_record_of_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "unfit", lambda dry: "")
    assert device.main(["--only", "loss"]) == 2
    assert "--only needs --out" in capsys.readouterr().err


def test_a_folder_is_no_place_for_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OUT in the environment is another program's: where machines are lent it may be a folder."""
    assert device.main(["--dry", "--out", str(tmp_path)]) == 2
    assert "found a folder" in capsys.readouterr().err
    monkeypatch.setenv("OUT", str(tmp_path))
    for words, wanted in (([], False), ([f"OUT={tmp_path}/x.md"], True)):
        done = subprocess.run(["make", "-n", "device", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        assert ("--out" in done.stdout) == wanted


def test_a_part_is_chosen_by_its_name_or_with_all_of_its_module(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("exact_attention", "exact_attention.flash4"):
        assert device.arguments().parse_args(["--only", name]).only == [name]
    with pytest.raises(SystemExit):
        device.arguments().parse_args(["--only", "flash4"])
    assert len({section.name for section in SECTIONS}) == len(SECTIONS)


def test_a_measurement_that_fails_is_a_row_and_the_next_is_made(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows")
    rows.measure("first", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    rows.measure("second", lambda: Row("second", "", "1 s"))
    found = read(tmp_path / "rows")
    assert [(row.what, row.failed) for row in found] == [("first", True), ("second", False)]
    assert "ZeroDivisionError: division by zero" in found[0].ours


ANY = Section("any", "Any", 1)


READS = "from benchmarks.device.rows import *; rows = Rows(Path({!r})); "  # loads torch


def section(program: str, limit: float, folder: Path, of: Section = ANY) -> Process:
    """A section of which this is the program, after a first row; `rows` are at hand where the program names them."""
    made = Process(of, "cpu", limit, folder)
    row = json.dumps(asdict(Row("a", "", "1 s"))) + "\n"
    text = f"open({str(made.rows)!r}, 'a').write({row!r}); print('a | 1 s'); print('said', flush=True); {program}"
    made.command = [sys.executable, "-c", (READS.format(str(made.rows)) if "rows" in program else "") + text]
    return made


@pytest.mark.parametrize(
    ("program", "limit", "said"),
    [
        ("import time; time.sleep(60)", 4, "over its limit of 4 s"),
        ("raise SystemExit('broken')", 60, "exit code 1: broken"),
    ],
)
def test_what_a_section_measured_stays_when_it_fails(program: str, limit: float, said: str, tmp_path: Path) -> None:
    made = section(program, limit, tmp_path)
    found = made.run()
    assert [row.failed for row in found] == [False, True, False]
    assert said in found[1].ours
    assert made.printed().startswith(b"a | 1 s\nsaid")


def test_a_part_that_ends_by_an_error_is_begun_again_while_it_adds_rows(tmp_path: Path) -> None:
    made = section(
        "raise SystemExit('broken' if len(read(rows.path)) < 2 else 0)",
        60,
        tmp_path,
        Section("any", "Any", 1, part="part"),
    )
    assert [row.ours for row in made.run()[:-1]] == ["1 s"] * 2
    made = Process(Section("none", "None", 1, part="part"), "cpu", 60, tmp_path)
    made.command = [sys.executable, "-c", "print('began'); raise SystemExit('broken')"]
    assert "exit code 1: broken" in made.run()[0].ours
    assert made.printed().count(b"began") == 1


def test_compilers_find_a_folder_of_the_run_and_only_the_end_of_a_long_text_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "/of/the/user")
    made = section("import os; print('x' * 2**21); print(os.environ['TRITON_CACHE_DIR'])", 60, tmp_path)
    made.run()
    assert made.printed().endswith(f"x\n{tmp_path / 'triton_cache_dir'}\n".encode())
    assert len(made.printed()) == process.PRINTED


def test_what_a_section_leaves_running_ends_with_it(tmp_path: Path) -> None:
    left = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    section(f"{left}; rows.add(Row('left', '', str(child.pid)))", 60, tmp_path).run()
    number = int(read(tmp_path / "any.jsonl")[1].ours)
    state, ends = Path(f"/proc/{number}/stat"), time.monotonic() + 10
    while state.exists() and state.read_text().split()[2] != "Z":  # a signal takes a moment
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_section_without_time_is_a_failed_row(tmp_path: Path) -> None:
    (row,) = section("", 0, tmp_path).run()
    assert row.failed


SLOW = Section("slow", "A slow one", 300, timed=False)
BROKEN = Section("broken", "A broken one", 300, timed=False)
NEVER = Section("never", "One that is not come to", 300)
PROGRAMS = {"slow": "import time; time.sleep(300)", "broken": "raise SystemExit('broken')", "never": ""}


def test_the_record_is_whole_all_the_while_and_after_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A section hangs, another breaks, and a signal ends all: what they measured is there, before the signal too."""
    path = tmp_path / "page.md"
    monkeypatch.setattr(device, "SECTIONS", (SLOW, BROKEN, NEVER))
    monkeypatch.setattr(device, "OFTEN", 0.2)
    monkeypatch.setattr(
        device, "Process", lambda one, _, limit, folder: section(PROGRAMS[one.name], limit, folder, one)
    )
    monkeypatch.setattr(process, "STOP", stop := Event())
    monkeypatch.setattr(device, "STOP", stop)
    seen: list[str] = []

    def watch() -> None:
        until("a row", lambda: path.exists() and "exit code 1: broken" in path.read_text(), over.is_set)
        seen.append(path.read_text())
        stop.set()

    watcher, over = Thread(target=watch), Event()
    watcher.start()
    try:
        assert device.measure(path, device.arguments().parse_args(["--dry"]))
    finally:
        over.set()
        watcher.join()
    assert device.RUNNING in seen[0]
    assert "## Not run\n\n- One that is not come to" in seen[0]
    text = path.read_text()
    assert "failed: the run was stopped" in text
    assert "failed: exit code 1: broken" in text
    assert text.index("A slow one") < text.index("A broken one")
    assert (tmp_path / "page.log").read_text().count("said") == 2


def test_a_page_says_what_failed_missed_and_was_not_run() -> None:
    slow = against("a", "b", 1.0, ("plain", 2.0), "s", (">=", 1.3))
    assert (slow.ratio, slow.goal) == ("0.500", ">= 1.3: missed")
    section, other = Section("one", "One", 1), Section("other", "Another", 1)
    text = record.page("today", ["- here"], {section: [slow, Row("c", "", "failed: x", failed=True)]}, [other], False)
    assert "2 rows, 1 failed, 1 goal missed" in text
    assert "## Not run\n\n- Another\n" in text
    assert "**failed: x**" in text
    assert record.REHEARSED not in text


POISONED = """
import hashlib, os, pytest, signal, time, torch
from tests.cuda.conftest import memory_given_back

@pytest.mark.parametrize("number", range(6))
def test_one(number):
    if number == 4:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # answers no signal
    if number == 5:
        time.sleep(1)
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
    if number == 1:
        def fails(): raise RuntimeError("CUDA error: misaligned address")
        torch.cuda.is_available, torch.cuda.synchronize = lambda: True, fails
        fails()
"""


@pytest.mark.slow
def test_an_error_after_which_cuda_answers_nothing_is_one_tests_alone(tmp_path: Path) -> None:
    """Its process ends, another takes the other tests; so it is with one that hangs, and then the limit strikes."""
    (tmp_path / "test_poisoned.py").write_text(POISONED)
    program = (
        "from pathlib import Path; from benchmarks.device import cuda_tests as c;"
        "from benchmarks.device.rows import Rows;"
        f"c.files = lambda: ['--rootdir={tmp_path}', '{tmp_path}']; c.WORKERS = {{'cpu': 1}};"
        "c.PATIENCE = {'cpu': 8};"
        f"c.run(c.Size('cpu'), Rows(Path('{tmp_path}/rows')))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True)
    failed, hung, summary = read(tmp_path / "rows")
    assert "test_one[4]" in hung.what
    assert "RuntimeError: CUDA error: misaligned address" in failed.ours
    passed, broken, left = map(int, re.findall(r"\d+", summary.ours))
    assert (broken, passed + left) == (2, 4)
    assert passed >= 2  # at least one of them after the error; what was on its way when the limit struck does not count


def test_every_section_has_its_whole_time_within_that_of_all() -> None:
    """What is not timed runs side by side."""
    needed = sum(max(section.seconds for section in together) for together in groups(chosen(SECTIONS, ())))
    assert needed <= device.LIMIT < 8 * 60


def test_tests_never_seen_to_pass_come_first() -> None:
    names = [Path(path).stem for path in cuda_tests.files()]
    assert names[: len(cuda_tests.FIRST)] == list(cuda_tests.FIRST)
    assert sorted(names) == sorted(path.stem for path in cuda_tests.TESTS.glob("test_*.py"))


@pytest.mark.parametrize(
    ("ratio", "goal", "said"),
    [(1.3, (">=", 1.3), "met"), (1.2, (">=", 1.3), "missed"), (1.2, ("<=", 1.1), "missed"), (0.85, NEAR, "missed"),
     (1.05, NEAR, "met")],
)  # fmt: skip
def test_a_goal_is_met_or_missed(ratio: float, goal: Goal, said: str) -> None:
    assert met(ratio, goal).endswith(said)


@pytest.mark.parametrize("pipeline", ["llama31_1m", "ouro", "kimi_vl"])
def test_the_pipelines_at_small_can_be_cut_to_a_few_steps(pipeline: str, tmp_path: Path) -> None:
    pipelines.shorten(tmp_path)
    for stage in Project.load(tmp_path).resolve(pipeline, pipelines.SCALE).stages.values():
        steps = [ledger.count(phase) for phase in stage.phases]
        assert all(count <= pipelines.STEPS + 1 for count in steps), (stage.name, steps)  # a ramp adds a smaller step
        assert stage.evaluation.samples == 1

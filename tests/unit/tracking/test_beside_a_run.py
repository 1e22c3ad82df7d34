"""A tracker that is killed, hangs, crashes, has a full disk or no network: the run has the same bits and end.

A small stage is trained in a process of its own, which starts the tracker's process as `stages run` does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages.store.digest import digest_file
from stages.store.layout import Layout

ROOT = Path(__file__).parents[3]
KEY = "a" * 32
TRAIN = """
import os, sys, signal, threading, time
from pathlib import Path
from stages.engines import run, training
from stages.tracking import settings, start
from tests.unit.train import tiny
root, what = Path(sys.argv[1]), sys.argv[2]
training.PhaseData = tiny.Data
inputs = tiny.inputs(root)
if what == "missing":
    sys.modules["tensorboard"] = None
began = time.monotonic()
pids = start.start(inputs.layout, "tiny/box", inputs.key)
if what == "killed":
    os.kill(pids[0], signal.SIGKILL)
run(tiny.make("next_token"), inputs)
print(*pids)
"""
WRITERS = {
    "good": "open(self.at, 'a').write(f'{tag} {data} {step}\\n')",
    "killed": "pass",
    "missing": "pass",
    "hangs": "import time; time.sleep(10**6)",
    "crashes": "import os; os.abort()",
    "full": "raise OSError(28, 'No space left on device')",
    "exits": "raise SystemExit(3)",
    "eats": "x = [0] * 10**12",
}


@dataclass
class Outcome:
    """What a training left, and the processes that it started."""

    code: int
    digests: dict[str, str]
    pids: list[int]
    said: str
    layout: Layout


def stub(root: Path, what: str) -> Path:
    """A package `tensorboard` whose writer does as it is called."""
    package = root / "stubs" / "tensorboard"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "summary.py").write_text(
        "class Writer:\n"
        "    def __init__(self, folder):\n"
        "        import pathlib; pathlib.Path(folder).mkdir(parents=True, exist_ok=True); self.at = folder + '/log'\n"
        f"    def add_scalar(self, tag, data, step):\n        {WRITERS[what]}\n"
        "    def flush(self): pass\n"
        "    def close(self): pass\n"
    )
    return package.parent


def train(root: Path, what: str, path: Path | None = None, **environment: str) -> Outcome:
    paths = [str(one) for one in (path, ROOT) if one is not None]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(root), what], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
    )  # fmt: skip
    layout = Layout(root, "mini")
    result = layout.stage("tiny/box")
    names = ["metrics.csv", "manifest.json", *(str(one.relative_to(result)) for one in result.glob("model/*/*"))]
    digests = {name: digest_file(result / name) for name in names if (result / name).is_file()}
    return Outcome(done.returncode, digests, [int(one) for one in done.stdout.split()], done.stderr, layout)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The run without tracking.yaml."""
    found = train(tmp_path_factory.mktemp("undisturbed"), "none")
    assert found.code == 0
    assert found.pids == []
    assert len(found.digests) >= 4
    return found


@pytest.fixture
def ended() -> Iterator[list[int]]:
    """Processes that are ended with the test, whatever it found."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError, OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    return False


@pytest.mark.slow
@pytest.mark.parametrize("what", list(WRITERS))
def test_the_run_has_the_same_bits_and_end_whatever_its_tracker_does(
    tmp_path: Path, undisturbed: Outcome, ended: list[int], what: str
) -> None:
    (tmp_path / "tracking.yaml").write_text("tensorboard: {folder: tb}\n")
    found = train(tmp_path, what, stub(tmp_path, what))
    ended += found.pids
    assert found.code == undisturbed.code == 0, found.said
    assert found.digests == undisturbed.digests
    if what == "missing":
        assert found.pids == []
        assert "pip install 'stages[tensorboard]'" in found.said
    else:
        assert len(found.pids) == 1
    if what == "good":
        deadline = time.monotonic() + 100
        while alive(found.pids[0]) and time.monotonic() < deadline:
            time.sleep(0.2)
        log = (tmp_path / "tb" / "mini" / "tiny" / "box" / KEY[:8] / "log").read_text()
        assert [line.split()[2] for line in log.splitlines() if line.startswith("loss ")] == [
            str(n) for n in range(1, 9)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_without_a_network_the_run_has_the_same_bits_and_end(
    tmp_path: Path, undisturbed: Outcome, ended: list[int], name: str
) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed (pip install 'stages[{name}]')")
    (tmp_path / "tracking.yaml").write_text(
        f"wandb: {{project: p, folder: {tmp_path}/w, mode: online}}\n" if name == "wandb"
        else "mlflow: {uri: 'http://127.0.0.1:9', experiment: e}\n"
    )  # fmt: skip
    found = train(tmp_path, name, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40)
    ended += found.pids
    assert (found.code, found.digests) == (0, undisturbed.digests)
    assert len(found.pids) == 1


@pytest.mark.slow
def test_a_full_disk_of_the_real_tensorboard_leaves_the_run_as_it_is(
    tmp_path: Path, undisturbed: Outcome, ended: list[int]
) -> None:
    if find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not installed (pip install 'stages[tensorboard]')")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", small], check=False, capture_output=True
    ).returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        (small / "full").write_bytes(b"x" * 4096)
        (tmp_path / "tracking.yaml").write_text(f"tensorboard: {{folder: {small}}}\n")
        found = train(tmp_path, "real")
        ended += found.pids
        assert (found.code, found.digests) == (0, undisturbed.digests)
        said = found.layout.run(KEY) / "tracking-tensorboard.txt"
        deadline = time.monotonic() + 110
        while "No space left" not in said.read_text() and time.monotonic() < deadline:
            time.sleep(0.5)
        assert "No space left on device" in said.read_text()
    finally:
        for pid in ended:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", small], check=True)


def test_a_tracker_that_hangs_is_gone_some_time_after_the_run(tmp_path: Path) -> None:
    (tmp_path / "tracking.yaml").write_text("tensorboard: {folder: tb}\n")
    attempt = Layout(tmp_path, "mini").run(KEY) / "attempt-0001"
    attempt.mkdir(parents=True)
    (attempt / "live.csv").write_text("phase,step,loss,seconds\nmain,1,3.0,0.5\n")
    code = (
        "import sys; from stages.tracking import follow; follow.LINGER = 0.5; "
        f"sys.exit(follow.main([{str(tmp_path)!r}, 'mini', 'tiny/box', {KEY!r}, 'tensorboard', '1']))"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=100, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(stub(tmp_path, "hangs")), str(ROOT)])},
    )  # fmt: skip
    assert done.returncode == 1
    assert "had not taken all" in done.stdout
    assert time.monotonic() - began < 60


SEND = """
import os, sys
from pathlib import Path
from stages.store.layout import Layout
from stages.tracking import follow
from stages.tracking.run import Run
root, name, end = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if end == "killed":
    follow.Sender._note = lambda self, ended: os._exit(9)
follow.Sender(root, Run(Layout(root, "mini"), "tiny/box", "a" * 32), name).finish()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_no_step_is_there_twice_where_a_process_is_killed_before_it_notes_what_it_sent(
    tmp_path: Path, name: str
) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed (pip install 'stages[{name}]')")
    (tmp_path / "tracking.yaml").write_text(
        "tensorboard: {folder: tb}\n" if name == "tensorboard"
        else f"mlflow: {{uri: 'file://{tmp_path}/m', experiment: e}}\n"
    )  # fmt: skip
    rows = Layout(tmp_path, "mini").run(KEY) / "attempt-0001" / "live.csv"
    rows.parent.mkdir(parents=True)
    text = "phase,step,loss,seconds\n"
    for last, end in ((2, "killed"), (4, "noted"), (6, "killed"), (6, "noted")):
        text += "".join(f"main,{step},{5 - step / 8},0.5\n" for step in range(text.count("\n"), last + 1))
        rows.write_text(text)
        words = [sys.executable, "-c", SEND, str(tmp_path), name, end]
        done = subprocess.run(words, cwd=ROOT, timeout=100, check=False, capture_output=True, text=True)
        assert done.returncode == (9 if end == "killed" else 0), done.stderr
    if name == "mlflow":
        (kept,) = (tmp_path / "m").rglob("metrics/loss")  # of one run
        assert [line.split()[2] for line in kept.read_text().splitlines()] == ["1", "2", "3", "4", "5", "6"]
    else:
        from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

        shown = EventAccumulator(str(tmp_path / "tb/mini/tiny/box" / KEY[:8]))
        shown.Reload()
        assert [one.step for one in shown.Tensors("loss")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_the_real_trackers_take_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Outcome, name: str
) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed (pip install 'stages[{name}]')")
    (tmp_path / "tracking.yaml").write_text(
        f"tensorboard: {{folder: {tmp_path}/tb}}\n"
        f"wandb: {{project: p, folder: {tmp_path}/w, mode: offline}}\n"
        f"mlflow: {{uri: 'file://{tmp_path}/m', experiment: e}}\n"
    )
    code = (
        "from pathlib import Path; from stages.store.layout import Layout; from stages.tracking import follow; "
        "from stages.tracking.run import Run; "
        f"run = Run(Layout(Path({str(undisturbed.layout.root)!r}), 'mini'), 'tiny/box', {KEY!r}); "
        f"print(follow.Sender(Path({str(tmp_path)!r}), run, {name!r}).finish())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=200, check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.split()[-1] == "8"
    kinds = {"tensorboard": "tb/**/events.*", "wandb": "w/**/*.wandb", "mlflow": "m/**/metrics/loss"}
    made = [path for path in tmp_path.glob(kinds[name]) if path.stat().st_size > 0]
    assert len(made) == 1
    if name == "mlflow":
        assert len(made[0].read_text().splitlines()) == 8

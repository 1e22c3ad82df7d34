"""`python -m benchmarks.device`, which `make device` runs: every section, then exit code 1 if a row failed.

Exit code 2, and one line, where there is no GPU that torch can use, or a package is missing. `--dry` rehearses the
same on a CPU.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.device import needs

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "results" / "records" / "gpu.md"
LIMIT = 470  # seconds for all sections together: machines with a GPU are lent by the minute
PATIENCE = 10  # times that for a rehearsal, beside other work on a CPU


def main(words: list[str]) -> int:
    asked = arguments().parse_args(words)
    if lacking := unfit(asked.dry):
        print(f"device: {lacking}", file=sys.stderr)
        return 2
    if asked.dry and asked.out is None:
        asked.out = Path(tempfile.mkdtemp(prefix="stages-device-")) / "rehearsal.md"
    path = asked.out or RECORD
    if asked.dry and path.resolve() == RECORD:
        print(f"device: --dry does not write {RECORD}: a rehearsal is no record", file=sys.stderr)
        return 2
    failed = measure(path, asked)
    print(f"device: {'some rows failed' if failed else 'all rows measured'}: {path}")
    return int(failed)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.device", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="rehearse on a CPU with tiny sizes; never writes the record")
    parser.add_argument("--out", type=Path, help="write here instead of results/records/gpu.md")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="these sections alone, by module; needs --out")
    parser.add_argument("--commit", default="", help="the commit that is measured, where git cannot say")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for all sections together")
    return parser


def unfit(dry: bool) -> str:
    """Why nothing can be measured here, in one line; "" where it can."""
    if missing := needs.missing():
        return (
            f"{sys.executable} lacks {', '.join(missing)}. Name an interpreter that has torch with DEVICE_PYTHON=..., "
            "and a folder with the others with DEVICE_SITE=... (`make device-packages` fills one): docs/on-gpus.md"
        )
    import torch

    if not dry and not torch.cuda.is_available():
        return (
            f"found no GPU that torch {torch.__version__} of {sys.executable} can use; "
            "`make device-rehearsal` runs the same script on a CPU"
        )
    return ""


def measure(path: Path, asked: argparse.Namespace) -> bool:
    """Run the sections (timed ones one by one), writing the record after each; whether a row failed."""
    from benchmarks.device import record
    from benchmarks.device.machine import lines
    from benchmarks.device.rows import Row
    from benchmarks.device.sections import SECTIONS, Section, groups
    from stages.report.commit import commit
    from stages.store.files import write_atomic

    device = "cpu" if asked.dry else "cuda"
    chosen = [section for section in SECTIONS if not asked.only or section.module in asked.only]
    machine = list(lines(device, asked.commit or commit(ROOT)))
    done: dict[Section, list[Row]] = {}
    patience = PATIENCE if asked.dry else 1
    ends = time.monotonic() + asked.limit * patience
    path.parent.mkdir(parents=True, exist_ok=True)
    for sections in groups(chosen):
        limits = [max(0.0, min(one.seconds * patience, ends - time.monotonic())) for one in sections]
        for one, limit in zip(sections, limits, strict=True):
            print(f"== {one.title} (at most {limit:.0f} s)", flush=True)
        with ThreadPoolExecutor(len(sections)) as pool:
            found = pool.map(lambda one, limit: run(one.module, device, limit), sections, limits)
            done |= dict(zip(sections, found, strict=True))
        date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        left = [section for section in chosen if section not in done]
        write_atomic(path, record.page(date, machine, done, left, asked.dry).encode())
    return any(row.failed for rows in done.values() for row in rows)


def run(module: str, device: str, limit: float) -> list:
    """The rows of one section. One that fails, or is over its limit, leaves those it had and a failed one."""
    from benchmarks.device.rows import Row, read

    if limit <= 0:
        return [Row(module, "", "failed: not begun, the time of the whole run was up", failed=True)]
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder) / "rows.jsonl", Path(folder) / "log"
        began = time.monotonic()
        code = process([sys.executable, "-m", "benchmarks.device.one", module, device, str(rows)], log, limit)
        found = read(rows)
        print(log.read_text(encoding="utf-8", errors="replace"), end="", flush=True)
        if code is None:
            found.append(Row(module, "", f"failed: over its limit of {limit:.0f} s", failed=True))
        elif code:
            said = log.read_text(encoding="utf-8", errors="replace").strip().replace("|", "/")
            last = said.rpartition("\n")[2][:200]
            found.append(Row(module, "", f"failed: exit code {code}: {last}", failed=True))
        found.append(Row(f"{module}: the whole section", "", f"{time.monotonic() - began:.0f} s"))
        return found


def process(command: list[str], log: Path, limit: float) -> int | None:
    """Run a command in a process group of its own; its exit code, or None where the limit ended it."""
    # cuBLAS reads it when CUDA starts; without a fixed workspace its results may differ between runs.
    environ = os.environ | {"PYTHONUNBUFFERED": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return child.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

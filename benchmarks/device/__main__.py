"""`python -m benchmarks.device`, which `make device` runs: every section, then exit code 1 if a row failed.

Exit code 2, and one line, where there is no GPU that torch can use, or a package is missing. `--dry` rehearses the
same on a CPU.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.device import needs
from benchmarks.device.process import STOP, Process
from benchmarks.device.sections import SECTIONS, Section, chosen, groups

if TYPE_CHECKING:
    from stages.models.ops.backend import Device

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "results" / "records" / "gpu.md"
LIMIT = 479  # seconds for all sections together: machines with a GPU are lent by the minute
PATIENCE = 10  # times that for a rehearsal, beside other work on a CPU
OFTEN = 5.0  # seconds between two versions of the record
RUNNING = "still running when this was written"


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
    if path.is_dir():
        print(f"device: --out {path}: found a folder; allowed: a file, such as {path / 'gpu.md'}", file=sys.stderr)
        return 2
    if asked.only and asked.out is None:
        print(f"device: --only needs --out: {RECORD} is of all sections", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):  # end the sections, keep what they measured
        signal.signal(number, lambda *_: STOP.set())
    failed = measure(path, asked)
    print(f"device: {'some rows failed' if failed else 'all rows measured'}: {path}")
    return int(failed)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.device", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="rehearse on a CPU with tiny sizes; never writes the record")
    parser.add_argument("--out", type=Path, help="write here instead of results/records/gpu.md")
    names = dict.fromkeys(name for section in SECTIONS for name in (section.module, section.name))
    parser.add_argument("--only", nargs="+", choices=[*names], help="these sections alone; needs --out")
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
    """Run the sections (timed ones one by one), writing the record all the while; whether a row failed."""
    from benchmarks.device import record
    from benchmarks.device.machine import lines
    from benchmarks.device.rows import Row, read
    from stages.report.commit import commit
    from stages.store.files import write_atomic

    device: Device = "cpu" if asked.dry else "cuda"
    wanted = chosen(SECTIONS, asked.only or ())
    machine = list(lines(device, asked.commit or commit(ROOT)))
    done: dict[Section, list[Row]] = {}
    patience = PATIENCE if asked.dry else 1
    ends = time.monotonic() + asked.limit * patience
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.with_suffix(".log")
    log.write_bytes(b"")

    def write(meanwhile: dict[Section, list[Row]]) -> None:
        date, known = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", done | meanwhile
        found = {section: known[section] for section in wanted if section in known}
        left = [section for section in wanted if section not in known]
        write_atomic(path, record.page(date, machine, found, left, asked.dry).encode())

    write({})  # where that is not possible, it is known before anything is measured
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        for sections in groups(wanted):
            limits = {one: max(0.0, min(one.seconds * patience, ends - time.monotonic())) for one in sections}
            begun = {one: Process(one, device, limits[one], Path(name)) for one in sections}
            for one in sections:
                print(f"== {one.title} (at most {limits[one]:.0f} s)", flush=True)
            with ThreadPoolExecutor(len(sections)) as pool:
                waiting = {pool.submit(process.run): one for one, process in begun.items()}
                while waiting:
                    for future in wait(waiting, OFTEN, FIRST_COMPLETED).done:
                        one = waiting.pop(future)
                        done[one] = future.result()
                        with log.open("ab") as file:
                            file.write(f"== {one.title}\n".encode() + begun[one].printed())
                    running = {one: [*read(begun[one].rows), Row(one.name, "", RUNNING)] for one in waiting.values()}
                    write(running)
            if STOP.is_set():
                break
    print(f"device: what every section printed: {log}")
    return STOP.is_set() or any(row.failed for rows in done.values() for row in rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One section in a process of its own: `python -m benchmarks.device.one MODULE DEVICE ROWS`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks.device.rows import Rows
from benchmarks.device.sections import SECTIONS, Size


def main(module: str, device: str, path: str) -> None:
    if module not in {section.module for section in SECTIONS} or device not in ("cuda", "cpu"):
        raise SystemExit(f"one: found {module} on {device}; allowed: a module of sections.py, on cuda or cpu")
    importlib.import_module(f"benchmarks.device.{module}").run(Size(device), Rows(Path(path)))


if __name__ == "__main__":
    main(*sys.argv[1:])

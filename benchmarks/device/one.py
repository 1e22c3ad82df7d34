"""One section in a process of its own: `python -m benchmarks.device.one NAME DEVICE ROWS`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks.device.rows import Rows
from benchmarks.device.sections import SECTIONS, Size


def main(name: str, device: str, path: str) -> None:
    section = next((section for section in SECTIONS if section.name == name), None)
    if section is None or device not in ("cuda", "cpu"):
        raise SystemExit(f"one: found {name} on {device}; allowed: a section of sections.py, on cuda or cpu")
    run = importlib.import_module(f"benchmarks.device.{section.module}").run
    run(Size("cuda" if device == "cuda" else "cpu"), Rows(Path(path)), *([section.part] if section.part else []))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The README's first answer, and docs/exporting.md's lines of plain transformers, typed as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STAGE, HERE = "llama31_1m/instruct", "plain/tuned"  # what `make mini` leaves, and what stands for it here


def _block(page: Path, pattern: str) -> str:
    found = re.search(pattern, page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.slow
def test_the_readmes_lines_work_and_both_ways_say_the_same(finished: Path, tmp_path: Path) -> None:
    shell = _block(ROOT / "README.md", r"```sh\n(stages generate .*?)```")
    python = _block(ROOT / "docs/exporting.md", r"```python\n(from transformers import AutoModelForCausalLM.*?)```")
    root = shutil.copytree(finished, tmp_path / "project")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def typed(*words: str) -> str:
        return subprocess.run(words, cwd=root, env=environment, check=True, capture_output=True, text=True).stdout

    said = []
    for line in shell.splitlines():
        command, *words = shlex.split(line)
        assert command == "stages"
        assert words[1] == STAGE
        said.append(typed(sys.executable, "-m", "stages", words[0], HERE, *words[2:]))
    theirs = typed(sys.executable, "-W", "error", "-c", python)
    assert said[0] == theirs
    assert "validation.loss" in said[1]
    assert said[2].startswith(f"{HERE}: ")

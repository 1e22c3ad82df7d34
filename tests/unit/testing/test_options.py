"""Options of the plugin that would do nothing without another one are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_reason_without_an_update_is_refused(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--stages-reason", "new"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "--stages-reason: found without --stages-update, so that no golden is written." in done.stderr

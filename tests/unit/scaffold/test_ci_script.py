"""A new project's ci.sh: it never passes without the snapshots that it promises to compare with."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SAYS_DONE = "#!/bin/sh\necho \"$(basename $0) $*\" >> {log}\necho 'Nothing to be done'\n"


def ci(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script beside commands that do nothing, and note how they were called."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for name in ("stages", "snakemake", "pytest"):
        (commands / name).write_text(SAYS_DONE.format(log=folder / "calls"))
        (commands / name).chmod(0o755)
    shutil.copy(ROOT / "examples/base/ci.sh", folder / "ci.sh")
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    return subprocess.run(["bash", folder / "ci.sh"], env=environment, capture_output=True, text=True, check=False)


def test_without_snapshots_it_fails_and_says_how_they_are_made(tmp_path: Path) -> None:
    done = ci(tmp_path)
    assert done.returncode == 1
    assert 'pytest --stages --stages-update --stages-reason "the first ones"' in done.stderr
    assert "pytest" not in (tmp_path / "calls").read_text()


def test_with_snapshots_every_stage_is_compared(tmp_path: Path) -> None:
    (tmp_path / "tests/stages").mkdir(parents=True)
    assert ci(tmp_path).returncode == 0
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "pytest --stages"

"""A virtual environment with the built wheel and the packages that it declares, and nothing else.

The packages are those of this interpreter's environment, linked file by file as their RECORDs list them: what a wheel
does not declare cannot be imported there, although nothing is downloaded. pip itself then installs the wheel and
checks every declared range.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import Parser
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "#!{python}\nimport sys\nfrom {module} import {first}\nsys.exit({name}())\n"


@dataclass(frozen=True)
class Clean:
    """The environment, and commands typed in it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def environment(self) -> dict[str, str]:
        """What a shell has after `source bin/activate`, without this suite's own settings."""
        ours = ("GIT_", "COV_", "PYTHON", "PYTEST", "VIRTUAL_ENV", "CI")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        who = {f"GIT_{who}_{what}": "test@test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**kept, **who, "PATH": path, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}

    def run(self, commands: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Commands as they are typed in a shell."""
        words = ["bash", "-euc", commands]
        return subprocess.run(words, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False)

    def type(self, commands: str, cwd: Path) -> str:
        """The same, which has to succeed; what was printed."""
        done = self.run(commands, cwd)
        assert done.returncode == 0, f"{commands} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def build_wheel(into: Path, source: Path = ROOT) -> Path:
    """The wheel of a checkout, built by what pyproject.toml names, without a network."""
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*words, "--wheel-dir", str(into), str(source)], check=True)
    (wheel,) = into.glob("*.whl")
    return wheel


def make(folder: Path, wheel: Path, extras: Iterable[str] = ()) -> Clean:
    """The environment at `folder`, with the wheel and some of its extras installed in it by pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    clean = Clean(folder)
    site = next((folder / "lib").glob("python*/site-packages"))
    wanted = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
    for found in _needed(declared(wheel), extras):
        _link(found, site, clean)
    words = [sys.executable, "-m", "pip", "--python", str(clean.python), "install", "--quiet", "--no-index", wanted]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return clean


def declared(wheel: Path) -> list[Requirement]:
    """What a wheel says that it needs, its extras included."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    return [Requirement(line) for line in Parser().parsestr(text, headersonly=True).get_all("Requires-Dist", [])]


def _needed(requirements: Iterable[Requirement], extras: Iterable[str]) -> Iterator[metadata.Distribution]:
    """The distributions of this environment that requirements ask for, and what those ask for, each once."""
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, frozenset(extras)) for requirement in requirements]
    while waiting:
        requirement, wanted = waiting.pop()
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in (wanted or {""})):
            continue
        found = metadata.distribution(requirement.name)
        asked = {(canonicalize_name(requirement.name), extra) for extra in ("", *requirement.extras)}
        if asked <= seen:
            continue
        if not any(name == canonicalize_name(requirement.name) for name, _ in seen):
            yield found
        seen |= asked
        waiting += [(Requirement(line), frozenset(requirement.extras)) for line in found.requires or ()]


def _link(found: metadata.Distribution, site: Path, clean: Clean) -> None:
    """Links to a distribution's files, whole directories where it has them; scripts of this Python."""
    for top in sorted({Path(str(path)).parts[0] for path in found.files or ()} - {"..", "__pycache__"}):
        link = site / top
        if not link.exists():
            link.symlink_to(Path(str(found.locate_file(top))).resolve())
    for entry in found.entry_points.select(group="console_scripts"):
        module, _, name = entry.value.partition(":")
        script = clean.folder / "bin" / entry.name
        name = name.split("[")[0].strip()
        first = name.partition(".")[0]
        script.write_text(SCRIPT.format(python=clean.python, module=module, first=first, name=name))
        script.chmod(0o755)

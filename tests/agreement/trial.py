"""One event, one tool that heals: what the three say, what the tool does, and whether everything is clean after it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.agreement import verdicts
from tests.agreement.events import Event
from tests.agreement.project import Project
from tests.agreement.verdicts import Names

HEALERS = {"snakemake": ("snakemake",), "dvc repro": ("dvc", "repro")}
NOTHING: Names = frozenset()


@dataclass(frozen=True)
class Outcome:
    """`idle`: what DVC called although nothing was to be done there. `clean`: all three have nothing to do any more.

    `said` is what the tool that heals said, for whoever reads of another outcome.
    """

    status: Names
    listed: Names
    trained: Names
    prepared: Names
    put_back: Names
    idle: Names
    clean: bool
    said: str = field(default="", compare=False, repr=False)

    @property
    def one(self) -> bool:
        """Whether all say and do the same."""
        return self.status == self.listed == self.trained | self.prepared | self.put_back


def expected(event: Event, healer: str) -> Outcome:
    """What is held of an event."""
    prepared = frozenset(name for name in event.run if name.startswith("data__"))
    trained = event.run - prepared - event.put_back
    idle = event.idle if healer == "dvc repro" else NOTHING
    return Outcome(event.run, event.run, trained, prepared, event.put_back, idle, True)


def attempt(event: Event, healer: str, finished: Project) -> Outcome:
    """Let it happen to a copy of the finished project, ask all three, and heal."""
    with tempfile.TemporaryDirectory() as folder:
        project = finished.copy(Path(folder) / "project")
        project = event.happen(project) or project
        status, listed = verdicts.status(project, event.deep), verdicts.listed(project)
        if event.mend:
            event.mend(project)
        before = verdicts.look(project)
        said = project.type(*HEALERS[healer])
        did = verdicts.between(before, verdicts.look(project))
        if healer == "snakemake":
            project.type("stages", "record-dvc")
        idle = verdicts.calls(said) - did.all
        return Outcome(status, listed, did.trained, did.prepared, did.put_back, idle, _clean(project), said)


def _clean(project: Project) -> bool:
    left = verdicts.status(project) | verdicts.listed(project)
    return not left and "up to date" in project.type("dvc", "status")

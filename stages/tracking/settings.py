"""tracking.yaml at the project's root: where the metrics of runs are sent. No part of any key; it has no secret."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from stages.spec import nodes
from stages.spec.fields import Raw, Text
from stages.spec.files import read
from stages.spec.validate import validate

FILE = "tracking.yaml"
PLACES = {"tensorboard": ("folder",), "wandb": ("entity", "project"), "mlflow": ("uri", "experiment")}


class RawTensorBoard(Raw):
    """Event files under a folder, one below it for each stage and key."""

    folder: Text


class RawWandb(Raw):
    """Weights & Biases: a run for each stage and key. Who one is, its own login says."""

    project: Text
    folder: Text
    mode: Literal["online", "offline"]
    entity: Text | None = None


class RawMlflow(Raw):
    """MLflow: a run for each stage and key, in one experiment. `uri` is a server's address or `file:///folder`."""

    uri: Text
    experiment: Text


class RawTracking(Raw):
    """What tracking.yaml may contain: any of the three."""

    tensorboard: RawTensorBoard | None = None
    wandb: RawWandb | None = None
    mlflow: RawMlflow | None = None

    def named(self) -> tuple[str, ...]:
        """The trackers that are configured."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    def place(self, name: str) -> str:
        """Where a tracker keeps runs: what is sent to another place is sent whole."""
        found = getattr(self, name)
        return " ".join(str(getattr(found, field)) for field in PLACES[name] if getattr(found, field) is not None)


def load(root: Path) -> RawTracking:
    """The settings of the project `root`; no tracker where there is no file. Raises InvalidSpecs."""
    path = root / FILE
    return validate(nodes.parse(read(path, FILE), FILE), RawTracking) if path.exists() else RawTracking()


def absent(name: str) -> str | None:
    """What to do where a tracker's package is not installed; None where it is. Nothing is imported."""
    if find_spec(name) is not None:
        return None
    return f"{FILE} names {name}, which is not installed: pip install 'stages[{name}]'"

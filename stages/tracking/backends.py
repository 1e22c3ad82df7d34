"""The three trackers behind one interface. Each imports its own package, in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from stages.tracking import wandb_log
from stages.tracking.run import SHOWN, Run
from stages.tracking.settings import RawMlflow, RawTensorBoard, RawTracking, RawWandb

WRITTEN = 30.0  # seconds in which W&B's own process has written a file after its end


class Backend(Protocol):
    """What is sent to a tracker. Anything may raise; the caller goes on without the tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """The measurements of one step."""

    def flush(self) -> None:
        """Have what was logged be seen."""

    def finish(self, step: int, values: Mapping[str, float], state: str) -> None:
        """Evaluations at the last step, lineage of the result in place, and the end: FINISHED, KILLED or FAILED."""

    @property
    def id(self) -> str:
        """By which a later process goes on with the same run."""

    @property
    def has(self) -> int:
        """The last step that it has from earlier processes, 0 where what they sent is gone: what follows is sent."""


def make(settings: RawTracking, name: str, root: Path, run: Run, known: str | None, sent: int) -> Backend:
    """The tracker `name`, at the run that it has for this stage and key, or a new one.

    `known` is its earlier id, and `sent` the last step that is known to be there.
    """
    if name == "tensorboard" and settings.tensorboard is not None:
        return TensorBoard(settings.tensorboard, root, run, sent)
    if name == "wandb" and settings.wandb is not None:
        return Wandb(settings.wandb, root, run, sent)
    if name == "mlflow" and settings.mlflow is not None:
        return Mlflow(settings.mlflow, root, run, known, sent)
    raise ValueError(f"{name} is not in the settings")


def gone(settings: RawTracking, name: str, root: Path, known: str) -> bool:
    """Whether the folder that had the run `known` was removed; a server, and files that W&B sent, are not looked at."""
    if name == "tensorboard":
        return not any(Path(known).glob("events.*"))
    if name != "mlflow" or settings.mlflow is None:
        return False
    store = Path(uri(settings.mlflow, root).removeprefix("file://"))
    return store.is_absolute() and not any(store.glob(f"*/{known}"))


def uri(settings: RawMlflow, root: Path) -> str:
    """MLflow's address: a folder is one of the project's."""
    plain = "://" not in settings.uri and not settings.uri.startswith("databricks")
    return str(root / settings.uri) if plain else settings.uri


class TensorBoard:
    """Event files; those of a later process lie next to the earlier ones, and TensorBoard reads them as one run."""

    def __init__(self, settings: RawTensorBoard, root: Path, run: Run, sent: int) -> None:
        """`sent`: the last step that is known to be there; what an earlier process wrote behind it comes again."""
        from tensorboard.summary import Writer

        self.id = str(root / settings.folder / run.layout.scale / run.ref / run.key[:SHOWN])
        self.has = sent if any(Path(self.id).glob("*")) else 0
        if any(Path(self.id).glob("events.*")):
            _begins_again(self.id, sent + 1)
        self._writer = Writer(self.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar each."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """To the files."""
        self._writer.flush()

    def finish(self, step: int, values: Mapping[str, float], state: str) -> None:
        """Evaluations are at the last step, which is what they were made after."""
        self.log(step, values)
        self._writer.close()


def _begins_again(folder: str, step: int) -> None:
    """Have TensorBoard leave out what earlier files have from this step on: it shows a step that comes twice twice.

    Its own mark of a restarted job, twice, because the first in a folder is read as that of a job that begins
    (tensorboard/backend/event_processing/plugin_event_accumulator.py, `_CheckForRestartAndMaybePurge`).
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(folder)
    for _ in range(2):
        writer.add_event(Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)))
    writer.close()


class Wandb:
    """A W&B run whose id is the key: a later process goes on with it. Results are artifacts, parents its inputs.

    Offline, its files say what it has: what an earlier process wrote before it was killed, and whether the disk took
    all.
    """

    def __init__(self, settings: RawWandb, root: Path, run: Run, sent: int) -> None:
        import wandb

        quiet = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True,
            init_timeout=60,
        )  # fmt: skip
        folder = root / settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._files = folder / "wandb" if settings.mode == "offline" else None
        self._before = self._written(run)
        self.has = max(0, wandb_log.kept(self._before)[0]) if self._before else sent
        pipeline, _, stage = run.ref.partition("/")
        self._wandb: Any = wandb
        self._stage = run
        parents = {ref: parent.key for ref, parent in run.parents().items()}
        self._run: Any = wandb.init(
            project=settings.project, entity=settings.entity, name=run.name, id=run.key, mode=settings.mode,
            resume="allow", dir=str(folder), group=f"{pipeline}@{run.layout.scale}", job_type=stage,
            config={**run.tags, "parents": parents}, settings=quiet,
        )  # fmt: skip
        self.id = run.key
        for ref, key in parents.items() if settings.mode == "online" else ():  # offline, the config alone says them
            with suppress(wandb.errors.Error, ValueError):  # a parent that was made before there was a tracker
                self._run.use_artifact(f"{artifact(ref, run.layout.scale)}:{key[:SHOWN]}")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row."""
        self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """W&B's own process sends what it has."""

    def finish(self, step: int, values: Mapping[str, float], state: str) -> None:
        """Evaluations as the summary; of the result its manifest, which names every file by its digest."""
        self._run.summary.update(dict(values))
        found = self._stage.result()
        if found is not None:
            folder, record, digest = found
            made = self._wandb.Artifact(
                artifact(self._stage.ref, self._stage.layout.scale), type="stage",
                metadata={**self._stage.tags, "manifest": digest, "tier": record.tier,
                          "parents": {ref: parent.key for ref, parent in record.parents.items()}},
            )  # fmt: skip
            made.add_file(str(folder / "manifest.json"))
            self._run.log_artifact(made, aliases=[self._stage.key[:SHOWN]])
        self._run.finish(exit_code=0 if state == "FINISHED" else 1)
        until = time.monotonic() + WRITTEN
        while self._files is not None and not wandb_log.kept(self._written(self._stage) - self._before)[1]:
            if time.monotonic() > until:
                raise OSError(f"{self._files}: W&B's file of this run is cut off or gone; is the disk full?")
            time.sleep(0.1)

    def _written(self, run: Run) -> set[Path]:
        """The files of this run that W&B wrote offline; none online."""
        return set() if self._files is None else set(self._files.glob(f"offline-run-*-{run.key}/run-{run.key}.wandb"))


def artifact(ref: str, scale: str) -> str:
    """The name of a stage's artifact."""
    return f"{ref.replace('/', '-')}-{scale}"


class Mlflow:
    """An MLflow run; what it was built on, and what it came to, are tags."""

    def __init__(self, settings: RawMlflow, root: Path, run: Run, known: str | None, sent: int) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder as `uri` is a user's choice
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        from mlflow import MlflowClient
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        self._metric: Any = Metric
        self._run, self._client = run, MlflowClient(tracking_uri=uri(settings, root))
        self._kept: list[Any] = []
        self._there: dict[str, int] = {}
        experiment = self._client.get_experiment_by_name(settings.experiment)
        place = experiment.experiment_id if experiment else self._client.create_experiment(settings.experiment)
        tags = {f"stages.{name}": value for name, value in run.tags.items()}
        tags |= {f"stages.parent.{ref.replace('/', '.')}": parent.key for ref, parent in run.parents().items()}
        if known is not None:
            try:
                self._client.get_run(known)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                known = None  # it was removed
        self.has = 0 if known is None else sent
        self._known = known or self._earlier(place)
        self.id = self._known or str(self._client.create_run(place, tags=tags, run_name=run.name).info.run_id)

    def _earlier(self, experiment: str) -> str | None:
        """The run that a process which was killed before it could note the id made for this stage and key."""
        wanted = " and ".join(f"tags.`stages.{name}` = '{value}'" for name, value in self._run.tags.items())
        found = self._client.search_runs([experiment], filter_string=wanted, max_results=1)
        return str(found[0].info.run_id) if found else None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Kept until `flush`, which sends many at once; what an earlier process sent is left out: MLflow keeps both."""
        now = int(time.time() * 1000)
        named = {name.replace("/", "."): value for name, value in values.items()}
        self._kept += [
            self._metric(name, value, now, step) for name, value in named.items() if step > self._last_of(name)
        ]

    def _last_of(self, name: str) -> int:
        """The last step of a metric that MLflow has from an earlier process, -1 without one."""
        if self._known is None:
            return -1
        if name not in self._there:
            history = self._client.get_metric_history(self._known, name)
            self._there[name] = max((one.step for one in history), default=-1)
        return self._there[name]

    def flush(self) -> None:
        """At most a thousand in one request (a server takes no more)."""
        while self._kept:
            self._client.log_batch(self.id, metrics=self._kept[:1000])
            del self._kept[:1000]

    def finish(self, step: int, values: Mapping[str, float], state: str) -> None:
        """Evaluations at the last step; as a tag the manifest's digest, by which children know this result."""
        self.log(step, values)
        self.flush()
        found = self._run.result()
        if found is not None:
            self._client.set_tag(self.id, "stages.manifest", found[2])
            self._client.set_tag(self.id, "stages.tier", found[1].tier)
        self._client.set_terminated(self.id, status=state)

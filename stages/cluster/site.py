"""slurm/site.yaml: what a cluster calls its accounts, partitions and GPUs, how long one job may run there, and under
what the NeMo engine runs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from stages.cluster import nemo
from stages.cluster.nemo import Nemo, RawNemo
from stages.errors import SpecError
from stages.spec import nodes
from stages.spec.fields import Margin, Raw, Text, TimeLimit
from stages.spec.files import read
from stages.spec.nodes import Document
from stages.spec.quantities import describe
from stages.spec.validate import several, validate

FILE = "slurm/site.yaml"
# sbatch's options that are keys of this file or follow from a stage's spec: twice given, one of the two would be lost.
MANAGED = {
    "account": "the key `account`",
    "partition": "the key `partition`",
    "qos": "the key `qos`",
    "constraint": "the key `constraint`",
    "gres": "the key `gpu`",
    "gpus": "the key `gpu`",
    "time": "`time_limit` of a stage, and the key `max_time`",
    "gpus-per-node": "the key `gpu`",
    "gpus-per-task": "the key `gpu`",
    "mem": "`memory` of a stage",
    "mem-per-cpu": "`memory` of a stage",
    "mem-per-gpu": "`memory` of a stage",
    "nodes": "`nodes` of a stage",
    "ntasks": "`nodes` of a stage",
    "ntasks-per-node": "nothing: one process on each node starts the ranks",
    "ntasks-per-gpu": "nothing: one process on each node starts the ranks",
    "cpus-per-task": "`threads` of a scale and `ranks` of a stage",
    "cpus-per-gpu": "`threads` of a scale and `ranks` of a stage",
    "dependency": "nothing: Snakemake knows what comes first",
    "requeue": "`slurm-requeue` of slurm/config.yaml",
    "no-requeue": "`slurm-requeue` of slurm/config.yaml",
    "job-name": "nothing: Snakemake finds its jobs by it",
    "comment": "nothing: Snakemake's rule is in it",
    "output": "`slurm-logdir` of slurm/config.yaml",
    "error": "`slurm-logdir` of slurm/config.yaml",
    "open-mode": "nothing: a job that is put back into the queue adds to its log",
    "export": "nothing: jobs get the environment that Snakemake was started in",
    "chdir": "nothing: jobs run in the project's folder",
    "array": "nothing: a stage is one job",
    "wrap": "nothing: a job runs its stage",
    "test-only": "nothing: a job runs its stage",
    "hold": "nothing: a held job never starts; `scontrol hold` holds one",
    "wait": "nothing: Snakemake submits the next job meanwhile",
    "clusters": "nothing: jobs are looked for on one cluster; start Snakemake there",
}


@dataclass(frozen=True)
class Site:
    """One cluster. `max_time` is the longest limit of one job in minutes; `requeue_before` is in seconds."""

    account: str | None = None
    partition: str | None = None
    gpu_partition: str | None = None
    gpu: str = "gpu"
    max_time: int | None = None
    requeue_before: int = 300
    qos: str | None = None
    constraint: str | None = None
    extra: tuple[str, ...] = ()
    nemo: Nemo = dataclasses.field(default_factory=Nemo)

    def partition_of(self, gpus: int) -> str | None:
        """The partition of a job with so many GPUs a node; None for Slurm's own choice."""
        return (self.gpu_partition or self.partition) if gpus else self.partition


class RawSite(Raw):
    """What slurm/site.yaml may contain."""

    account: Text | None = None
    partition: Text | None = None
    gpu_partition: Text | None = None
    gpu: str = Field(default="gpu", pattern=r"^[A-Za-z0-9_]+(:[A-Za-z0-9_.]+)?$")
    max_time: TimeLimit | None = None
    requeue_before: Margin = 300
    qos: Text | None = None
    constraint: Text | None = None
    extra: list[str] = Field(default_factory=list)
    nemo: RawNemo = RawNemo()


def load(root: Path) -> Site:
    """The site of the project `root`; Slurm's own defaults where there is no file. Raises InvalidSpecs."""
    path = root / FILE
    if not path.exists():
        return Site()
    document = nodes.parse(read(path, FILE), FILE)
    raw = validate(document, RawSite, nulls=True)
    errors = [*_named(document, raw), *_late(document, raw), *_extra(document, raw), *nemo.wrong(document, raw.nemo)]
    if errors:
        raise several(errors)
    return Site(**{**raw.model_dump(), "extra": tuple(raw.extra), "nemo": raw.nemo.made()})


def _named(document: Document, raw: RawSite) -> Iterator[SpecError]:
    """Names that Slurm has not: sbatch would refuse every job."""
    for key in ("account", "partition", "gpu_partition", "qos"):
        value = getattr(raw, key)
        if value is not None and len(value.split()) != 1:
            repair = "Write it as Slurm does; several partitions are joined by commas."
            yield SpecError(document.where((key,)), key, describe(value), "a name without blanks", repair)
    if re.fullmatch(r".*:\d{1,2}", raw.gpu):
        repair = "Take the number out: a job asks for as many GPUs as its node has ranks."
        yield SpecError(document.where(("gpu",)), "gpu", describe(raw.gpu), "gpu, or gpu:h100 with its type", repair)


def _late(document: Document, raw: RawSite) -> list[SpecError]:
    if raw.max_time is None or raw.requeue_before < raw.max_time * 60:
        return []
    found, most = f"{raw.requeue_before} s", f"less than max_time, {raw.max_time} min"
    repair = "Leave jobs time to work: a few minutes before the limit are enough for a checkpoint."
    return [SpecError(document.where(("requeue_before",)), "requeue_before", found, most, repair)]


def _extra(document: Document, raw: RawSite) -> list[SpecError]:
    errors = []
    for index, flag in enumerate(raw.extra):
        where, key, name = document.where(("extra", index)), f"extra.{index}", flag.partition("=")[0][2:]
        if not flag.startswith("--") or len(flag.split()) != 1:
            repair = "Write the long option, with = before its value."
            errors.append(SpecError(where, key, describe(flag), "one sbatch option such as --exclusive", repair))
        elif (managed := _managed(name)) is not None:
            allowed = "options that nothing else sets"
            errors.append(SpecError(where, key, describe(flag), allowed, f"This is set by {MANAGED[managed]}."))
    return errors


def _managed(name: str) -> str | None:
    """The option of `MANAGED` that a name stands for: sbatch takes the beginning of a name for the whole."""
    return name if name in MANAGED else next((one for one in MANAGED if one.startswith(name)), None)

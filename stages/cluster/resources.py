"""What one job requests of Slurm: from how a stage is executed and what the cluster is like."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from stages.cluster.site import Site
from stages.spec.resolved import Stage

LIGHT_MB, LIGHT_MIN = 2000, 60  # jobs that compute next to nothing: a corpus is prepared, a pointer is set
APPEND = "--open-mode=append"  # of sbatch: what a job printed before it was put back into the queue is kept


@dataclass(frozen=True)
class Request:
    """One job: nodes; CPUs, GPUs and MB of memory of each node; its time limit in minutes."""

    nodes: int
    cpus: int
    gpus: int
    memory_mb: int
    minutes: int

    @property
    def words(self) -> str:
        """Its nodes, in short."""
        gpus = f", {self.gpus} GPUs" if self.gpus else ""
        return f"{self.nodes} nodes, each with {self.cpus} CPUs{gpus} and {self.memory_mb / 1000:g} GB"


def of_stage(stage: Stage, site: Site) -> Request:
    """The job of a stage. Its ranks are spread evenly over its nodes (specs see to it); only phases have ranks."""
    execution = stage.execution
    if stage.kind == "keep":
        return light(site)
    nodes = execution.nodes if stage.phases else 1
    ranks = execution.ranks // nodes if stage.phases else 1
    return Request(
        nodes=nodes,
        cpus=execution.threads * ranks,
        gpus=ranks if execution.device == "cuda" else 0,
        memory_mb=execution.memory_mb,
        minutes=_limited(execution.time_limit_min, site),
    )


def light(site: Site) -> Request:
    """A job that prepares a corpus or sets a pointer."""
    return Request(nodes=1, cpus=1, gpus=0, memory_mb=LIGHT_MB, minutes=_limited(LIGHT_MIN, site))


def gres(request: Request, site: Site) -> str | None:
    """The GPUs of a node as Slurm writes them: gpu:8, gpu:h100:8."""
    return f"{site.gpu}:{request.gpus}" if request.gpus else None


def options(request: Request, site: Site) -> dict[str, int | str]:
    """sbatch's options for what a job asks for, under their long names."""
    found: dict[str, int | str | None] = {
        "account": site.account,
        "partition": site.partition_of(request.gpus),
        "qos": site.qos,
        "constraint": site.constraint,
        "nodes": request.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": request.cpus,
        "gres": gres(request, site),
        "mem": f"{request.memory_mb}M",
        "time": request.minutes,
    }
    return {name: value for name, value in found.items() if value is not None}


def snakemake(request: Request, site: Site) -> dict[str, int | str]:
    """The resources of a rule, as Snakemake's Slurm executor reads them. A local run looks at mem_mb and runtime only.

    The rule's command always runs in the batch step, on the first node, and starts the other nodes itself: the
    executor takes `mpi` as the sign for that. It demands more than one task where it is true; as an empty text, it is
    there and not true.
    """
    found: dict[str, int | str | None] = {
        "mem_mb": request.memory_mb,
        "runtime": request.minutes,
        "nodes": request.nodes,
        "tasks": request.nodes,
        "cpus_per_task": request.cpus,
        "mpi": "srun" if request.nodes > 1 else "",
        "gres": gres(request, site),
        "tasks_per_gpu": 0 if request.gpus else None,  # else the executor requests `tasks` of them on each GPU
        "slurm_partition": site.partition_of(request.gpus),
        "slurm_account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "slurm_extra": shlex.join((APPEND, *site.extra)),
    }
    return {name: value for name, value in found.items() if value is not None}


def _limited(minutes: int, site: Site) -> int:
    """A limit that one job may have; what is longer goes on in the same job, put back into the queue."""
    return minutes if site.max_time is None else min(minutes, site.max_time)

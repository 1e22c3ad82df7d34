"""What a job asks Slurm for, and that Snakemake's executor turns it into the right sbatch command."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from stages.cluster import resources
from stages.cluster.resources import Request
from stages.cluster.site import Site
from stages.spec.project import Project
from stages.spec.resolved import Stage

ROOT = Path(__file__).resolve().parents[3]
PROJECT = Project.load(ROOT)


def stage(name: str, scale: str, **execution: int | str) -> Stage:
    pipeline, _, box = name.partition("/")
    found = PROJECT.resolve(pipeline, scale).stages[box]
    return found.model_copy(update={"execution": found.execution.model_copy(update=execution)})


def sbatch(request: Request, site: Site) -> list[str]:
    """The words of the command that Snakemake's executor submits a job by."""

    class Resources(dict[str, int | str]):
        __getattr__ = dict.__getitem__

    job = SimpleNamespace(resources=Resources(resources.snakemake(request, site)), threads=1)
    words = {"run_uuid": "x", "slurm_logfile": "x", "comment_str": "x", "account": "", "partition": "", "workdir": ""}
    return str(get_submit_command(job, words) + set_gres_string(job)).split()


def test_ranks_are_spread_over_nodes_and_each_has_its_gpu_and_its_threads() -> None:
    request = resources.of_stage(stage("ouro/stable_1", "paper"), Site())
    assert request == Request(nodes=32, cpus=8 * 8, gpus=8, memory_mb=1_500_000, minutes=2880)


def test_ranks_on_one_cpu_node_share_it() -> None:
    request = resources.of_stage(stage("ouro/stable_1", "mini", ranks=4), Site())
    assert (request.nodes, request.cpus, request.gpus) == (1, 4, 0)


def test_a_stage_without_phases_takes_one_device_of_one_node() -> None:
    request = resources.of_stage(stage("ouro/thinking_1_4b", "paper", nodes=4, ranks=32), Site())
    assert (request.nodes, request.cpus, request.gpus) == (1, 8, 1)


def test_a_pointer_and_a_corpus_are_light_jobs() -> None:
    site = Site(partition="cpu", gpu_partition="h100")
    assert resources.of_stage(stage("ouro/keep_1_4b", "paper"), site) == resources.light(site)
    assert resources.snakemake(resources.light(site), site)["slurm_partition"] == "cpu"


def test_what_is_longer_than_a_job_may_be_is_done_in_several_turns() -> None:
    assert resources.of_stage(stage("ouro/stable_1", "paper"), Site(max_time=720)).minutes == 720


@pytest.mark.parametrize("name", ["ouro/stable_1", "ouro/thinking_1_4b", "ouro/keep_1_4b"])
@pytest.mark.parametrize("scale", ["mini", "small", "paper"])
def test_every_command_runs_in_the_batch_step(name: str, scale: str) -> None:
    """The executor's job step starts `srun` itself unless there is a resource called `mpi`."""
    assert "mpi" in resources.snakemake(resources.of_stage(stage(name, scale), Site()), Site())


def test_the_executor_submits_one_task_a_node_with_all_of_its_cpus_and_gpus() -> None:
    words = sbatch(Request(nodes=4, cpus=64, gpus=8, memory_mb=1000, minutes=90), Site(gpu="gpu:h100"))
    assert {"--nodes=4", "--ntasks=4", "--cpus-per-task=64", "--gres=gpu:h100:8"} < set(words)
    assert words[words.index("-t") + 1] == "90"
    assert words[words.index("--mem") + 1] == "1000"
    assert not [word for word in words if "ntasks-per-gpu" in word]


def test_the_executor_submits_one_task_on_one_node() -> None:
    words = sbatch(Request(nodes=1, cpus=2, gpus=0, memory_mb=1000, minutes=90), Site())
    assert {"--nodes=1", "--ntasks=1", "--cpus-per-task=2"} < set(words)
    assert not [word for word in words if "gres" in word]


def test_the_executor_passes_on_what_the_site_asks_for() -> None:
    site = Site(qos="long", constraint="ib", extra=("--exclusive", "--reservation=a;b"))
    command = " ".join(sbatch(resources.light(site), site))
    assert "-C ib" in command
    assert "--qos=long" in command
    assert "--open-mode=append --exclusive '--reservation=a;b'" in command

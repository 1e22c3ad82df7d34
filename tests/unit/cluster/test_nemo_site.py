"""Under what the NeMo engine's ranks run: what the site's file may say, and the commands that come of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.cluster import script, site
from stages.cluster.nemo import Container, Nemo
from stages.cluster.site import Site
from stages.engines import interpreter, nodes
from stages.errors import SpecError, UserError
from stages.spec.project import Project
from stages.spec.resolved import Stage

ROOT = Path(__file__).resolve().parents[3]
PYXIS = """\
nemo:
  python: /opt/venv/bin/python
  container: {image: /images/nemo.sqsh, mounts: [/data, "/scratch:/scratch:ro"], options: [--no-container-mount-home]}
  environment: {NCCL_IB_HCA: mlx5, NOTE: "a 'b' $HOME $(id)"}
"""


@pytest.fixture
def stage() -> Stage:
    return Project.load(ROOT).resolve("llama31_1m", "mini_nemo").stages["cpt_1m"]


def load(root: Path, text: str) -> Site:
    (root / "slurm").mkdir(exist_ok=True)
    (root / "slurm/site.yaml").write_text(text)
    return site.load(root)


def test_a_container_is_options_of_srun_and_mounts_the_project(tmp_path: Path) -> None:
    found = load(tmp_path, PYXIS).nemo
    assert found.options(Path("/code"), Path("/project")) == [
        "--container-image=/images/nemo.sqsh",
        "--container-mounts=/code:/code,/project:/project,/data,/scratch:/scratch:ro",
        "--container-workdir=/project",
        "--container-env=PYTHONPATH,MASTER_ADDR,MASTER_PORT,WORLD_SIZE,NCCL_IB_HCA,NOTE",
        "--no-container-mount-home",
    ]
    assert found.options(Path("/project"), Path("/project"))[1].count("/project:/project") == 1


@pytest.mark.parametrize("folder", ["/home/a,b", "/home/a:b", "/home/a\nb"])
def test_a_project_that_cannot_be_mounted_is_refused(folder: str) -> None:
    with pytest.raises(UserError, match=r"(?s)nemo\.container: the folder /home/a.* cannot be mounted"):
        Nemo(container=Container("x.sqsh")).options(Path("/code"), Path(folder))
    assert Nemo().options(Path("/code"), Path(folder)) == [], "and where nothing is mounted, it may be"


def test_agents_and_ranks_run_under_the_containers_interpreter(stage: Stage) -> None:
    inside = Nemo(container=Container("/images/nemo.sqsh"))
    python = interpreter.command(stage, inside, in_job=True)
    assert (python[0], python[-1]) == ("env", "python3")
    assert python[1].partition("=")[2].split(":")[0] == str(interpreter.CODE)
    assert nodes.Step(inside.options(ROOT, ROOT), python).agent == python
    assert nodes.Step((), python).agent == [sys.executable], "without one, agents need no Megatron"


def test_outside_of_jobs_there_is_no_container(stage: Stage) -> None:
    """pyxis is a part of srun."""
    named = Nemo(python=sys.executable, container=Container("/images/nemo.sqsh"))
    assert interpreter.command(stage, named, in_job=False)[-1] == sys.executable


def test_an_interpreter_that_is_not_there_is_told(stage: Stage) -> None:
    with pytest.raises(UserError, match=r"nemo\.python: found /nowhere/python, which is no file here"):
        interpreter.command(stage, Nemo(python="/nowhere/python"), in_job=True)


def test_stages_of_the_torch_engine_run_as_before() -> None:
    torch = Project.load(ROOT).resolve("llama31_1m", "mini").stages["cpt_1m"]
    elsewhere = Nemo(python="/nowhere/python", modules=("cuda",))
    assert interpreter.command(torch, elsewhere, in_job=True) == [sys.executable]


def test_modules_are_loaded_before_the_command_becomes_the_process(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text('module() { echo "$1 $2" >> "$HOME/loaded"; export M="$M $2"; }\n')
    command = [*Nemo(modules=("cuda/13.0", "nccl")).prefix(), "sh", "-c", 'echo "$M:$1"', "x", "$(id) 'a b' *"]
    done = subprocess.run(
        command, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert (tmp_path / "loaded").read_text() == "load cuda/13.0\nload nccl\n"
    assert done.stdout == " cuda/13.0 nccl:$(id) 'a b' *\n", "the command after it is taken as it is"


def test_a_module_that_is_not_there_ends_the_rank(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text("module() { return 1; }\n")
    command = [*Nemo(modules=("cuda",)).prefix(), "echo", "ran"]
    done = subprocess.run(command, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (69, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("python: bin/python", r"nemo\.python: found 'bin/python'; allowed: the absolute path"),
        ("python: /opt/my python", r"nemo\.python: found '/opt/my python'"),
        ("modules: [$(touch x)]", r"nemo\.modules\.0: found .*allowed: a module's name"),
        ("modules: [--]", r"nemo\.modules\.0"),
        ("modules: ['a;b']", r"nemo\.modules\.0"),
        ("modules: [cuda]\n  container: {image: x}", r"nemo\.modules: found modules beside a container"),
        (
            "environment: {RANK: '3'}",
            r"nemo\.environment\.RANK: .*variables that the launcher and the engine do not set",
        ),
        ("environment: {PYTHONPATH: /x}", r"nemo\.environment\.PYTHONPATH"),
        ("environment: {'A B': x}", r"nemo\.environment\.A B"),
        ("environment: {PYTHONOPTIMIZE: 1}", r"nemo\.environment\.PYTHONOPTIMIZE: .*the engine do not set"),
        ("environment: {NVTE_FUSED_ATTN: '1'}", r"nemo\.environment\.NVTE_FUSED_ATTN: .*the engine do not set"),
        ("environment: {NCCL_ALGO: Tree}", r"nemo\.environment\.NCCL_ALGO: .*the engine do not set"),
        ("environment: {SRUN_X: 1}", r"nemo\.environment\.SRUN_X"),
        ("environment: {NVIDIA_TF32_OVERRIDE: 1}", r"nemo\.environment\.NVIDIA_TF32_OVERRIDE: .*change no number"),
        ("environment: {CUBLAS_WORKSPACE_CONFIG: ':0:0'}", r"nemo\.environment\.CUBLAS_W.*change no number"),
        ('environment: {A: "x\\ny"}', r"nemo\.environment\.A: .*one line"),
        ("python: /opt/python/", r"nemo\.python: found '/opt/python/'"),
        ("python: /", r"nemo\.python: found '/'"),
        ("container: {image: 'a b'}", r"nemo\.container\.image: found 'a b'; allowed: a file such as /images"),
        ("container: {image: --container-save=x}", r"nemo\.container\.image"),
        ("container: {image: -x}", r"nemo\.container\.image"),
        ("container: {image: 'x.sqsh,y.sqsh'}", r"nemo\.container\.image"),
        ("container: {image: '/a.sqsh:/b'}", r"nemo\.container\.image"),
        ("container: {image: 'x;reboot'}", r"nemo\.container\.image"),
        ("container: {image: 'nvcr.io/nemo:'}", r"nemo\.container\.image"),
        ("container: {image: 'nvcr.io/nemo@sha256:12'}", r"nemo\.container\.image"),
        ("container: {image: 'https://nvcr.io/nemo'}", r"nemo\.container\.image"),
        ("container: {image: ''}", r"nemo\.container\.image"),
        ('container: {image: "x\\ny"}', r"nemo\.container\.image: found the control character"),
        ("container: {image: x, mounts: [data]}", r"nemo\.container\.mounts\.0: found 'data'; allowed: /from"),
        ("container: {image: x, mounts: ['/a,/b']}", r"nemo\.container\.mounts\.0"),
        ("container: {image: x, options: [--mem=4G]}", r"nemo\.container\.options\.0: .*--container-writable"),
        ("container: {image: x, options: [--container-image=y]}", r"nemo\.container\.options\.0"),
        (
            "container: {image: x, options: [--container-im=y]}",
            r"nemo\.container\.options\.0: found '--container-im=y'",
        ),
        ("container: {image: x, options: ['--container-name=a b']}", r"nemo\.container\.options\.0"),
        ("container: {mounts: []}", r"nemo\.container\.image"),
        ("pyton: /x", r"nemo\.pyton: found the unknown key"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=rf"slurm/site\.yaml:\d+: {message}"):
        load(tmp_path, f"nemo:\n  {text}\n")


@pytest.mark.parametrize(
    "image",
    [
        "/images/nemo.sqsh", "./nemo.sqsh", "/shared/my-images/nemo+25.sqsh", "nvcr.io#nvidia/nemo:25.11",
        "docker://nvcr.io/nvidia/nemo:25.11.nemotron", "dockerd://nemo", "user@localhost:5000#team/nemo:latest",
        "ubuntu", "nvcr.io/nvidia/nemo@sha256:" + "a" * 64,
    ],
)  # fmt: skip
def test_files_and_references_of_registries_are_images(tmp_path: Path, image: str) -> None:
    found = load(tmp_path, f"nemo:\n  container: {{image: '{image}'}}\n").nemo.options(Path("/x"), Path("/x"))
    assert found[0] == f"--container-image={image}"


@pytest.mark.parametrize(
    "option", ["--container-writable", "--no-container-entrypoint", "--container-name=nemo", "--container-remap-root"]
)
def test_pyxis_own_options_are_passed_on(tmp_path: Path, option: str) -> None:
    found = load(tmp_path, f"nemo:\n  container: {{image: x, options: [{option}]}}\n").nemo
    assert found.options(Path("/x"), Path("/x"))[-1] == option


def emitted(stage: Stage, of: Site) -> str:
    return script.text(stage, of, Path("/home/me/my project"), ["python", "-m", "stages", "run", "x"])


def test_the_batch_script_says_it_and_a_shell_reads_none_of_it(tmp_path: Path, stage: Stage) -> None:
    text = emitted(stage, load(tmp_path, PYXIS))
    assert "# engine nemo, under /opt/venv/bin/python\n" in text
    assert """# environment: NCCL_IB_HCA=mlx5 NOTE='a '"'"'b'"'"' $HOME $(id)'\n""" in text
    assert "# srun --container-image=/images/nemo.sqsh '--container-mounts=/home/me/my project:" in text
    assert all(line.startswith("#") for line in text.splitlines() if "container" in line or "NOTE" in line)


def test_the_batch_script_of_another_engine_says_nothing_of_it(tmp_path: Path) -> None:
    torch: Any = Project.load(ROOT).resolve("llama31_1m", "mini").stages["cpt_1m"]
    assert emitted(torch, load(tmp_path, PYXIS)) == emitted(torch, Site())

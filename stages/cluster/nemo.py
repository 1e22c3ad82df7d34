"""Under what the NeMo engine's ranks run on a cluster: key `nemo` of slurm/site.yaml.

Everything becomes arguments and variables of processes, one by one: no text of the file is read by a shell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from stages.contract.switches import is_switch
from stages.errors import SpecError, UserError
from stages.spec.fields import Raw
from stages.spec.nodes import Document
from stages.spec.quantities import describe

IN_IMAGE = "python3"  # what a container's own interpreter is called
MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
INTERPRETER = re.compile(r"/\S*[^\s/]")
# A file, which pyxis knows by how it begins, or a reference that enroot reads: [SCHEME://][USER@][REGISTRY#]NAME[:TAG].
IMAGE = re.compile(
    r"\.?(/[^\s,:/]+)+"
    r"|((docker|dockerd|podman)://)?(\w[\w.-]*@)?(\w[\w.-]*(:\d+)?[#/])?\w[\w.-]*(/\w[\w.-]*)*"
    r"(:\w[\w.-]*)?(@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
MOUNT = re.compile(r"/[^,:\s]*(:/[^,:\s]*(:[a-z+]+)?)?")
# Options of pyxis that no key of this file and nothing of the project sets. Whole names: srun takes beginnings too.
OPTION = re.compile(
    r"--(no-)?container-(mount-home|remap-root|entrypoint)|--container-(entrypoint-log|writable|readonly)"
    r"|--container-(name|save)=[^\s,=]+"
)
# Variables that the launcher or the engine sets, what would change which code is run, and what would leave out checks.
MANAGED_VARIABLES = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PYTHONPATH", "PYTHONHOME",
    "PYTHONOPTIMIZE", "BASH_ENV", "OMP_NUM_THREADS", "NCCL_ALGO", "NVTE_ALLOW_NONDETERMINISTIC_ALGO",
    "NVTE_FLASH_ATTN", "NVTE_FUSED_ATTN", "NVTE_UNFUSED_ATTN",
)  # fmt: skip
MANAGED_PREFIXES = ("SLURM_", "SRUN_", "SBATCH_")
# Loads the modules before `--` and becomes the command after it. Constant: names come as arguments.
LOAD = 'while [ "$1" != -- ]; do module load "$1" || exit 69; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class Container:
    """An image, as pyxis takes it (a .sqsh file or docker://...), mounts, and other options of pyxis."""

    image: str
    mounts: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Nemo:
    """The interpreter that has Megatron-Bridge (None: .venv-nemo, in a container python3), and what it needs around."""

    python: str | None = None
    container: Container | None = None
    modules: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def prefix(self) -> list[str]:
        """What a command is put behind, so that it finds the modules."""
        return ["bash", "-lc", LOAD, "modules", *self.modules, "--"] if self.modules else []

    def options(self, code: Path, root: Path) -> list[str]:
        """srun's options, by pyxis (enroot): the project's code and results are mounted where they are.

        Raises UserError for a folder whose name a mount cannot say.
        """
        if self.container is None:
            return []
        for one in (str(code), str(root)):
            if not MOUNT.fullmatch(one.replace(" ", "_")):
                raise UserError(
                    f"slurm/site.yaml: nemo.container: the folder {one} cannot be mounted: found one of , : or a line "
                    "break in its path, which mounts are cut at; allowed: a path without them. Move the project."
                )
        places = list(dict.fromkeys(f"{one}:{one}" for one in (str(code), str(root))))
        named = ["PYTHONPATH", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", *self.environment]
        return [
            f"--container-image={self.container.image}",
            f"--container-mounts={','.join([*places, *self.container.mounts])}",
            f"--container-workdir={root}",
            f"--container-env={','.join(named)}",
            *self.container.options,
        ]


class RawContainer(Raw):
    """What `nemo: {container: ...}` may contain."""

    image: str = Field(json_schema_extra={"pattern": f"^({IMAGE.pattern})$"})
    mounts: list[str] = Field(default_factory=list)
    options: list[str] = Field(default_factory=list)


class RawNemo(Raw):
    """What `nemo` of slurm/site.yaml may contain."""

    python: str | None = None
    container: RawContainer | None = None
    modules: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)

    def made(self) -> Nemo:
        """The checked values."""
        of = self.container
        container = None if of is None else Container(of.image, tuple(of.mounts), tuple(of.options))
        return Nemo(self.python, container, tuple(self.modules), dict(self.environment))


def wrong(document: Document, raw: RawNemo) -> Iterator[SpecError]:
    """What is not what it should be, each with its line."""
    at = ("nemo",)
    if raw.python is not None and not INTERPRETER.fullmatch(raw.python):
        allowed = "the absolute path of an interpreter, without blanks"
        yield document.error((*at, "python"), describe(raw.python), allowed, "Write /path/to/bin/python.")
    for index, name in enumerate(raw.modules):
        if not MODULE.fullmatch(name):
            allowed = "a module's name, such as cuda/13.0"
            yield document.error((*at, "modules", index), describe(name), allowed, "Write the name alone.")
    if raw.modules and raw.container is not None:
        repair = "Load them in the image, or leave one of the two out."
        yield document.error((*at, "modules"), "modules beside a container", "one of the two", repair)
    for name in raw.environment:
        if not VARIABLE.fullmatch(name) or name in MANAGED_VARIABLES or name.startswith(MANAGED_PREFIXES):
            allowed = "variables that the launcher and the engine do not set"
            yield document.error((*at, "environment", name), describe(name), allowed, "Take it out.")
        elif is_switch(name):
            allowed = "variables that change no number of a result; libraries choose their kernels by this one"
            yield document.error((*at, "environment", name), describe(name), allowed, "Take it out.")
        elif any(not one.isprintable() for one in raw.environment[name]):
            allowed = "one line of printable characters"
            yield document.error((*at, "environment", name), describe(raw.environment[name]), allowed, "Correct it.")
    yield from _container(document, raw.container)


def _container(document: Document, raw: RawContainer | None) -> Iterator[SpecError]:
    at = ("nemo", "container")
    if raw is not None and not IMAGE.fullmatch(raw.image):
        allowed = "a file such as /images/nemo.sqsh, or a reference such as nvcr.io#nvidia/nemo:25.11"
        yield document.error((*at, "image"), describe(raw.image), allowed, "Write what `enroot import` takes, alone.")
    for index, mount in enumerate(raw.mounts if raw is not None else ()):
        if not MOUNT.fullmatch(mount):
            allowed = "/from, /from:/to or /from:/to:ro"
            yield document.error((*at, "mounts", index), describe(mount), allowed, "Write absolute paths.")
    for index, option in enumerate(raw.options if raw is not None else ()):
        if not OPTION.fullmatch(option):
            allowed = (
                "--container-name=, --container-save=, --container-writable, -readonly, -entrypoint-log, and "
                "--[no-]container-mount-home, -remap-root, -entrypoint"
            )
            repair = "Write one of them whole; image, mounts and environment are keys, the rest is the project's."
            yield document.error((*at, "options", index), describe(option), allowed, repair)

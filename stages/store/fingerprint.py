"""What a run's bits depend on besides its spec: the environment, in a form that can be compared.

PyTorch promises equal bits only within one release, platform and device
(https://pytorch.org/docs/stable/notes/randomness.html); on a CPU its kernels are chosen by instruction set, MKL's by
the vendor too, environment variables can overrule both choices, and the order of a sum depends on the number of
threads. So these are the fields that `id` covers. Two runs with the same `id` are expected to agree bit for bit; with
different ones, within the tolerance of the same-order tier.

Nothing here imports torch: versions are read from the installed packages' metadata.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from blake3 import blake3

from stages.contract.switches import is_switch
from stages.store import run_record
from stages.store.json_file import JsonFileError

CPUINFO = Path("/proc/cpuinfo")

# What of this package cannot change a number of a training step: a change of a table must not look like other training.
# A new package counts until it is named here.
NUMBERLESS = frozenset(
    {
        *("__main__.py", "audit", "check", "cluster", "commands", "diff", "evals", "export", "forensics", "plan"),
        *("report", "scaffold", "shipped", "streams.py", "sync", "terminal.py", "testing", "tracking"),
    }
)
COMMAND_LINE = "cli"  # what the names of files with the commands of `stages` begin with: no number depends on them

# Instruction sets by which PyTorch, oneDNN and OpenBLAS choose kernels, as /proc/cpuinfo spells them.
# Flags that only concern security or virtualisation are left out: they differ between machines with equal bits.
NUMERIC_FLAGS = frozenset(
    {
        *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni"),
        *("avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("asimd", "asimdhp", "asimddp", "sve", "sve2", "bf16", "svebf16", "i8mm"),
    }
)

# The micro-architecture levels of the x86-64 psABI, by the vector flags that set them apart.
LEVELS = (
    ("x86-64-v4", frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})),
    ("x86-64-v3", frozenset({"avx", "avx2", "f16c", "fma"})),
    ("x86-64-v2", frozenset({"sse4_2"})),
)

CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what the engine sets where it is not set, for deterministic kernels

IDENTITY = ("python", "torch", "system", "machine", "cpu_vendor", "cpu_level", "cpu_flags", "threads", "switches")


def fingerprint(device: Mapping[str, object] | None = None, computing: int | None = None) -> dict[str, object]:
    """Return the environment of this process; `id` is a digest of the fields in `IDENTITY`.

    `device`: what an engine says of the GPU that it computed on and of its kernels; `id` then covers that too.
    `computing`: threads that an engine computes with, whatever the environment says. Without, OMP_NUM_THREADS if set,
    else the CPUs that this process may use.
    """
    cpu = cpu_fields(CPUINFO)
    flags = cpu_flags(cpu)
    found: dict[str, object] = {
        "python": platform.python_version(),
        "torch": torch_build(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_vendor": cpu.get("vendor_id") or cpu.get("CPU implementer") or "unknown",
        "cpu_level": cpu_level(flags),
        "cpu_flags": sorted(flags),
        "threads": threads(os.environ) if computing is None else computing,
        "switches": switches(os.environ),
    }
    identity = [found[name] for name in IDENTITY]
    if device is not None:
        found["device"] = dict(device)
        identity.append(json.dumps(found["device"], sort_keys=True, allow_nan=False))
    found["id"] = blake3(repr(identity).encode()).hexdigest()[:16]
    found["cpu_model"] = cpu_model(cpu)
    found["code"] = code()
    found["packages"] = {name: version(name) for name in ("numpy", "pandas", "safetensors", "tokenizers", "stages")}
    return found


def described(found: Mapping[str, object]) -> str:
    """An environment in words, as `fingerprint` returns it or run.json has it: its id, and what people change of it."""
    device, switches = found.get("device"), found.get("switches")
    gpu = device if isinstance(device, dict) else {}
    known = [
        ("Python", found.get("python")),
        ("torch", str(found.get("torch") or "").partition(" ")[0]),
        ("", found.get("cpu_level")),
        ("threads", found.get("threads")),
        ("", gpu.get("name")),
        ("CUDA", gpu.get("cuda")),
        ("driver", gpu.get("driver")),
        ("", " ".join(map(str, switches)) if isinstance(switches, list) else ""),
    ]
    words = ", ".join(f"{name} {value}".strip() for name, value in known if value)
    return f"{found.get('id')} ({words})" if words else str(found.get("id"))


@cache
def code() -> str:
    """A digest of the sources that compute a result: what it was made by. Recorded, never a reason to run again."""
    package = Path(__file__).resolve().parents[1]
    digest = blake3()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if counts(name.partition("/")[0]):
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def counts(part: str) -> bool:
    """Whether a package or file directly below stages/ can change a number of a training step."""
    return part not in NUMBERLESS and not part.startswith(COMMAND_LINE)


def drifted(folder: Path) -> bool:
    """Whether a result's run.json names the code that made it, and it is not today's."""
    with suppress(JsonFileError, OSError):
        return run_record.read(folder).environment.code not in (None, code())
    return False


def version(package: str) -> str:
    """Installed version of a package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those of some packages that are installed."""
    return {name: there for name in packages if (there := version(name)) != "not installed"}


def torch_build() -> str:
    """PyTorch's version and the tag of the wheel it came in; two wheels of one version may contain other kernels."""
    try:
        wheel = metadata.distribution("torch").read_text("WHEEL") or ""
    except metadata.PackageNotFoundError:
        return "not installed"
    tags = [line.split(":", 1)[1].strip() for line in wheel.splitlines() if line.startswith("Tag:")]
    return " ".join([version("torch"), *tags])


def cpu_fields(cpuinfo: Path) -> dict[str, str]:
    """The first value of each field of /proc/cpuinfo; none where there is no such file (macOS)."""
    if not cpuinfo.is_file():
        return {}
    found: dict[str, str] = {}
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def cpu_flags(cpu: Mapping[str, str]) -> frozenset[str]:
    """Instruction sets of the first CPU that bear on numerics; empty where the system does not tell (macOS)."""
    return NUMERIC_FLAGS & frozenset((cpu.get("flags") or cpu.get("Features", "")).split())


def cpu_level(flags: Collection[str]) -> str:
    """The x86-64 level of a set of flags, "aarch64" for ARM's, "unknown" otherwise."""
    for level, needed in LEVELS:
        if needed <= set(flags):
            return level
    return "aarch64" if "asimd" in flags else "unknown"


def cpu_model(cpu: Mapping[str, str]) -> str:
    """The CPU's name as the system gives it, for people; not part of the identity."""
    return cpu.get("model name") or platform.processor() or "unknown"


def threads(environ: Mapping[str, str]) -> int:
    """Threads where no engine sets them: OMP_NUM_THREADS if it is a number, else the CPUs this process may run on."""
    setting = environ.get("OMP_NUM_THREADS", "")
    if setting.isdecimal():
        return int(setting)
    return cpus()


def cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def switches(environ: Mapping[str, str]) -> list[str]:
    """The variables of an environment by which kernels are chosen, sorted: "NAME=value"."""
    found = {name: value for name, value in environ.items() if is_switch(name) and value}
    return sorted(f"{name}={value}" for name, value in found.items() if (name, value) != CUBLAS)

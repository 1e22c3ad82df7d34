"""The environment fingerprint: same environment, same id; what moves bits moves the id; torch is never imported."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from stages.store import fingerprint as module
from stages.store.fingerprint import (
    CUBLAS,
    cpu_fields,
    cpu_flags,
    cpu_level,
    cpu_model,
    drifted,
    fingerprint,
    switches,
    threads,
    torch_build,
    version,
)
from tests.edits import replaced

X86 = """processor\t: 0
model name\t: An Example CPU
flags\t\t: fpu vme sse4_2 avx f16c fma avx2 ibrs ssbd

processor\t: 1
flags\t\t: fpu avx512f
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd evtstrm sve sve2 bf16\n"


def test_two_calls_in_one_environment_agree() -> None:
    assert fingerprint() == fingerprint()


def test_the_thread_count_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = fingerprint()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    two = fingerprint()
    assert (one["threads"], two["threads"]) == (1, 2)
    assert one["id"] != two["id"]


def test_the_instruction_set_is_part_of_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = fingerprint()
    (tmp_path / "cpuinfo").write_text(ARM)
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    there = fingerprint()
    assert there["cpu_flags"] == ["asimd", "bf16", "sve", "sve2"]
    assert there["id"] != here["id"]


def test_the_cpu_s_name_is_told_but_moves_no_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for name in ("An Example CPU", "Another CPU"):
        (tmp_path / "cpuinfo").write_text(replaced(X86, "An Example CPU", name))
        monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
        assert fingerprint()["cpu_model"] == name
        ids.append(fingerprint()["id"])
    assert ids[0] == ids[1]


def test_the_cpu_s_vendor_is_part_of_the_identity_since_mkl_chooses_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for vendor in ("GenuineIntel", "AuthenticAMD"):
        (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\n{X86}")
        monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
        found.append(fingerprint())
    assert [one["cpu_vendor"] for one in found] == ["GenuineIntel", "AuthenticAMD"]
    assert found[0]["id"] != found[1]["id"]


KERNELS = """
import torch
from stages.store.fingerprint import fingerprint
draw = torch.Generator().manual_seed(0)
a, b = torch.randn(70, 300, generator=draw), torch.randn(300, 90, generator=draw)
images, kernel = torch.randn(2, 3, 32, 32, generator=draw), torch.randn(8, 3, 4, 4, generator=draw)
results = (a @ b, (a @ b).softmax(1).sum(0), torch.nn.functional.conv2d(images, kernel, stride=4))
print(fingerprint()["id"], hash(b"".join(result.numpy().tobytes() for result in results)))
"""


@pytest.mark.slow
def test_a_variable_that_moves_bits_on_one_machine_moves_the_identity() -> None:
    settings: tuple[dict[str, str], ...] = (
        {}, {"ATEN_CPU_CAPABILITY": "default"}, {"MKL_CBWR": "COMPATIBLE"}, {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    )  # fmt: skip
    plain = {name: value for name, value in os.environ.items() if name not in {key for one in settings for key in one}}
    bits: dict[str, set[str]] = {}
    for setting in settings:
        environ = {**plain, **setting, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        done = subprocess.run([sys.executable, "-c", KERNELS], env=environ, capture_output=True, text=True, check=True)
        id, digest = done.stdout.split()
        bits.setdefault(id, set()).add(digest)
    assert len(bits) == len(settings)
    assert all(len(digests) == 1 for digests in bits.values())
    if platform.machine() == "x86_64":  # or the test could not fail
        assert len(set.union(*bits.values())) > 1


def test_what_a_library_prints_and_the_number_of_threads_are_no_switches() -> None:
    harmless = {"MKL_VERBOSE": "1", "ONEDNN_VERBOSE": "all", "MKL_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"}
    assert switches({**harmless, "HOME": "/", "TORCH_HOME": "/", "ATEN_CPU_CAPABILITY": "", CUBLAS[0]: CUBLAS[1]}) == []
    assert switches({"NVIDIA_TF32_OVERRIDE": "0", "DNNL_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}) == [
        "DNNL_MAX_CPU_ISA=AVX2", "MKL_CBWR=AVX2", "NVIDIA_TF32_OVERRIDE=0",
    ]  # fmt: skip


def test_variables_by_which_a_gpus_kernels_are_chosen_or_compiled_are_switches() -> None:
    chosen = (
        "CUBLAS_EMULATE_SINGLE_PRECISION", "CUBLASLT_WORKSPACE_SIZE", "TORCH_CUBLASLT_UNIFIED_WORKSPACE",
        "TORCH_BLAS_PREFER_CUBLASLT", "DISABLE_ADDMM_CUDA_LT", "TORCH_LINEAR_FLATTEN_3D", "PYTORCH_TUNABLEOP_ENABLED",
        "TORCH_CUDNN_USE_HEURISTIC_MODE_B", "TORCH_CUDNN_SDPA_DEPRIORITIZED", "CUDA_FORCE_PTX_JIT",
        "CUDNN_CONV_WSCAP_DBG", "TRITON_DEFAULT_FP_FUSION", "TRITON_F32_DEFAULT", "TRITON_KERNEL_OVERRIDE",
        "TRITON_INTERPRET", "TRITON_PTXAS_PATH", "DISABLE_LLVM_OPT", "DISABLE_PTXAS_OPT", "DISABLE_MMA_V3",
        "PTXAS_OPTIONS", "FLASH_ATTENTION_ARCH", "CUTE_DSL_ARCH", "CUTE_DSL_PTXAS_PATH",
    )  # fmt: skip
    assert switches(dict.fromkeys(chosen, "1")) == sorted(f"{name}=1" for name in chosen)


def test_what_moves_numbers_or_keeps_files_or_memory_for_a_gpu_is_no_switch() -> None:
    """NCCL adds integers alone, whose sums have no order, and nothing here is compiled by torch.compile."""
    harmless = (
        "NCCL_PROTO", "NCCL_ALGO", "NCCL_MAX_NCHANNELS", "NCCL_DEBUG", "TORCH_NCCL_BLOCKING_WAIT", "GLOO_SOCKET_IFNAME",
        "PYTORCH_NO_CUDA_MEMORY_CACHING", "PYTORCH_ALLOC_CONF", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES",
        "CUDA_CACHE_PATH", "TORCHINDUCTOR_MAX_AUTOTUNE", "TORCHDYNAMO_DISABLE", "TRITON_CACHE_DIR", "TRITON_HOME",
        "TRITON_DUMP_DIR", "TRITON_PRINT_AUTOTUNING", "TRITON_REDIS_HOST", "TRITON_DISABLE_LINE_INFO",
        "FLASH_ATTENTION_FORCE_BUILD", "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", "CUTE_DSL_CACHE_DIR", "CUTE_DSL_KEEP_PTX",
        "TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT", "CUBLAS_LOGINFO_DBG",
    )  # fmt: skip
    assert switches(dict.fromkeys(harmless, "1")) == []


def test_only_flags_that_bear_on_numerics_are_kept(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(X86)
    assert cpu_flags(cpu_fields(tmp_path / "cpuinfo")) == {"sse4_2", "avx", "f16c", "fma", "avx2"}
    assert cpu_model(cpu_fields(tmp_path / "cpuinfo")) == "An Example CPU"


def test_a_system_without_cpuinfo_has_no_flags(tmp_path: Path) -> None:
    assert cpu_flags(cpu_fields(tmp_path / "absent")) == frozenset()


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ({"sse4_2"}, "x86-64-v2"),
        ({"sse4_2", "avx", "avx2", "f16c", "fma"}, "x86-64-v3"),
        ({"sse4_2", "avx", "avx2", "f16c", "fma", "avx512f"}, "x86-64-v3"),  # one AVX-512 flag is not the level
        ({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "x86-64-v4"),
        ({"asimd", "sve"}, "aarch64"),
        (set(), "unknown"),
    ],
)
def test_levels_of_the_x86_64_psabi(flags: set[str], level: str) -> None:
    assert cpu_level(flags) == level


def test_threads_fall_back_to_the_cpus_this_process_may_use() -> None:
    assert threads({"OMP_NUM_THREADS": "3"}) == 3
    assert threads({}) >= 1
    assert threads({"OMP_NUM_THREADS": "all"}) == threads({})


def test_an_absent_package_is_said_to_be_absent() -> None:
    assert version("a-package-that-nobody-installed") == "not installed"


def test_the_torch_build_names_its_wheel() -> None:
    assert torch_build().startswith(version("torch"))


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from stages.store.fingerprint import fingerprint; fingerprint(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_result_made_by_other_code_is_drift_and_one_that_does_not_say_is_not(tmp_path: Path) -> None:
    for code, drift in ((fingerprint()["code"], False), ("0" * 16, True), (None, False)):
        made_by = {} if code is None else {"code": code}
        (tmp_path / "run.json").write_text(json.dumps({"environment": made_by}))
        assert drifted(tmp_path) == drift
    assert not drifted(tmp_path / "nothing")


def test_what_is_recorded_of_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: AuthenticAMD\n{X86}")
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    found = fingerprint()
    packages = ("numpy", "pandas", "safetensors", "tokenizers", "stages")
    assert found == {
        "python": platform.python_version(), "torch": torch_build(), "system": platform.system(),
        "machine": platform.machine(), "cpu_vendor": "AuthenticAMD", "cpu_level": "x86-64-v3",
        "cpu_flags": ["avx", "avx2", "f16c", "fma", "sse4_2"], "threads": 3, "switches": found["switches"],
        "id": found["id"], "cpu_model": "An Example CPU", "code": module.code(),
        "packages": {name: version(name) for name in packages},
    }  # fmt: skip
    assert "MKL_CBWR=AVX2" in str(found["switches"])
    assert isinstance(found["packages"], dict)
    assert "not installed" not in (found["torch"], *found["packages"].values())
    assert (len(str(found["id"])), len(str(found["code"]))) == (16, 16)


def test_an_environment_in_words() -> None:
    gpu = {"name": "H200", "cuda": "13.0", "driver": "580.1", "capability": "9.0"}
    found = {"id": "f" * 16, "python": "3.12.1", "torch": "2.13.0+cu130 cp312", "cpu_level": "x86-64-v4", "threads": 2}
    words = "Python 3.12.1, torch 2.13.0+cu130, x86-64-v4, threads 2, H200, CUDA 13.0, driver 580.1, A=1 B=2"
    assert module.described({**found, "device": gpu, "switches": ["A=1", "B=2"]}) == f"{'f' * 16} ({words})"
    assert module.described({"id": "f", "device": "none", "switches": 5}) == "f"


@pytest.mark.parametrize(
    ("cpuinfo", "vendor"),
    [("CPU implementer\t: 0x41\n" + ARM, "0x41"), (ARM, "unknown"), ("vendor_id\t: A\nCPU implementer\t: B\n", "A")],
)
def test_the_vendor_is_what_the_system_calls_it(
    cpuinfo: str, vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    assert fingerprint()["cpu_vendor"] == vendor


def test_a_device_is_part_of_the_identity_whatever_the_order_it_is_told_in() -> None:
    first = fingerprint({"name": "a", "driver": "1"})
    assert first["device"] == {"name": "a", "driver": "1"}
    assert fingerprint({"driver": "1", "name": "a"})["id"] == first["id"]
    assert len({first["id"], fingerprint({"name": "a", "driver": "2"})["id"], fingerprint()["id"]}) == 3


def test_a_field_is_read_to_the_end_of_its_line_whatever_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_bytes(b"\nno colon\nmodel name\t: A CPU: \xff 3 GHz \nmodel name\t: B\n")
    assert cpu_model(cpu_fields(tmp_path / "cpuinfo")) == "A CPU: \ufffd 3 GHz"


def test_a_cpu_without_a_name_is_called_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("")
    monkeypatch.setattr(platform, "processor", lambda: "x86_64")
    assert cpu_model(cpu_fields(tmp_path / "cpuinfo")) == cpu_model(cpu_fields(tmp_path / "absent")) == "x86_64"
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert cpu_model(cpu_fields(tmp_path / "cpuinfo")) == cpu_model(cpu_fields(tmp_path / "absent")) == "unknown"


class Wheel:
    version = "9.9"

    def __init__(self, text: str | None) -> None:
        self.text = text

    def read_text(self, name: str) -> str | None:
        return self.text if name == "WHEEL" else None


@pytest.mark.parametrize(
    ("wheel", "build"),
    [
        ("Wheel-Version: 1.0\nTag: cp311-linux\nTag: a: b\nBuild: 1\n", "9.9 cp311-linux a: b"),
        ("", "9.9"),
        (None, "9.9"),
    ],
)
def test_the_torch_build_is_its_version_and_the_tags_of_its_wheel(
    wheel: str | None, build: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(module.metadata, "version", lambda name: asked.append(name) or "9.9")
    monkeypatch.setattr(module.metadata, "distribution", lambda name: asked.append(name) or Wheel(wheel))
    assert torch_build() == build
    assert set(asked) == {"torch"}

    def missing(name: str) -> Wheel:
        raise module.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "distribution", missing)
    assert torch_build() == "not installed"


def test_threads_without_a_setting_are_those_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5} if pid == 0 else set())
    assert threads({}) == threads({"OMP_NUM_THREADS": ""}) == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    for cpus, found in ((8, 8), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda cpus=cpus: cpus)
        assert threads({}) == found

"""Which GPU a rank takes, and what a GPU adds to the fingerprint: with a machine that is only described."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from blake3 import blake3

from stages.engines import libraries, place
from stages.engines.place import Place
from stages.errors import UserError
from stages.models.ops import choice
from stages.spec.resolved import Stage
from stages.store.fingerprint import fingerprint
from stages.train.ranks import CPU, GLOO, NCCL
from tests.unit.train import ranked, tiny

H100 = {"name": "NVIDIA H100 80GB HBM3", "major": 9, "minor": 0, "multi_processor_count": 132}


def on_gpu(ranks: int) -> Stage:
    stage = ranked.make("sft", ranks)
    return stage.model_copy(update={"execution": stage.execution.model_copy(update={"device": "cuda"})})


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with two GPUs, and the device that torch was set to use."""
    found: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(**H100))
    monkeypatch.setattr(choice, "features", lambda: frozenset({"flash_varlen", "grouped_mm"}))  # else found once, kept
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", place.SHARE, *place.ALLOCATOR):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)
    return found


def be(monkeypatch: pytest.MonkeyPatch, rank: int, of: int, share: str = "") -> None:
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(of))
    monkeypatch.setenv(place.SHARE, share)


def test_a_rank_takes_the_gpu_of_its_number_on_this_machine(
    chosen: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.of(on_gpu(1)) == Place(torch.device("cuda", 0), NCCL)
    be(monkeypatch, 1, 2)
    assert place.of(on_gpu(4)) == Place(torch.device("cuda", 1), NCCL)
    assert chosen == [torch.device("cuda", 0), torch.device("cuda", 1)]


def test_more_ranks_than_gpus_are_refused_unless_they_are_to_take_turns(
    chosen: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    be(monkeypatch, 3, 4)
    with pytest.raises(UserError, match=r"4 ranks on this machine, where PyTorch finds 2 GPUs.*STAGES_SHARE_GPUS=1"):
        place.of(on_gpu(4))
    assert chosen == []
    be(monkeypatch, 3, 4, share="1")
    assert place.of(on_gpu(4)) == Place(torch.device("cuda", 1), GLOO)
    be(monkeypatch, 0, 1, share="yes")
    with pytest.raises(UserError, match="STAGES_SHARE_GPUS=yes; allowed: 1"):
        place.of(on_gpu(1))


@pytest.mark.usefixtures("chosen")
def test_memory_is_reserved_in_segments_that_grow_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    place.of(on_gpu(1))
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
    place.of(on_gpu(1))
    assert "PYTORCH_ALLOC_CONF" not in os.environ


def test_on_a_cpu_no_allocator_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    place.of(tiny.make("sft"))
    assert "PYTORCH_ALLOC_CONF" not in os.environ


def test_a_stage_that_points_to_its_parent_needs_no_gpu() -> None:
    """Its job asks for none."""
    keep = on_gpu(1).model_copy(update={"kind": "keep"})
    assert place.of(keep) == Place(CPU, GLOO)
    assert place.of(tiny.make("sft")) == Place(CPU, GLOO)


@pytest.mark.usefixtures("chosen")
def test_the_fingerprint_covers_the_gpu_and_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = place.fields(torch.device("cuda", 0))
    assert fields is not None
    assert (fields["name"], fields["capability"], fields["multiprocessors"]) == ("NVIDIA H100 80GB HBM3", "9.0", 132)
    assert {"cuda", "driver", "cudnn", "nccl", "libraries", "loaded", "kernels"} < set(fields)
    ids = {str(fingerprint({**fields, name: "another"})["id"]) for name in fields}
    assert len(ids | {str(fingerprint(fields)["id"])}) == len(fields) + 1
    assert fingerprint(fields)["id"] != fingerprint()["id"]


@pytest.mark.usefixtures("chosen")
def test_the_fingerprint_has_what_kernels_are_compiled_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version decides their bits as NVIDIA's libraries' do. A package that was left half removed has no name."""
    found = [("nvidia-cublas", "13.1"), ("Triton", "3.6.0"), ("numpy", "2.0"), (None, None)]
    monkeypatch.setattr(
        libraries.metadata,
        "distributions",
        lambda: [SimpleNamespace(metadata={"Name": name}, version=version) for name, version in found],
    )
    fields = place.fields(torch.device("cuda", 0))
    assert fields is not None
    assert fields["libraries"] == {"nvidia-cublas": "13.1", "triton": "3.6.0"}


def test_libraries_from_outside_of_pythons_packages_are_named_with_their_versions(tmp_path: Path) -> None:
    """A container has no packages of NVIDIA; a cluster's module goes before them by LD_LIBRARY_PATH."""
    packages = Path(torch.__file__).resolve().parents[1]
    files = (
        packages / "nvidia/cublas/lib/libcublas.so.13",
        packages / "torch/lib/libtorch_cuda.so",
        Path("/usr/local/cuda-12.6/lib64/libcublasLt.so.12.6.4.1"),
        Path("/opt/a folder/libcudnn.so.9.5.1"),
        Path("/usr/lib/libcudnn_ops.so.9.5.1"),
        Path("/usr/lib/libc.so.6"),
    )
    maps = tmp_path / "maps"
    lines = [f"7f00-7f01 r--p 00000000 fd:00 42    {file}\n" for file in (*files, *files)]
    maps.write_text("".join([*lines, "7f02-7f03 rw-p 00000000 00:00 0\n"]))
    assert libraries.loaded(maps) == ["libcublasLt.so.12.6.4.1", "libcudnn.so.9.5.1"]
    assert libraries.loaded(tmp_path / "none") == []


def test_what_this_process_has_mapped_is_read(tmp_path: Path) -> None:
    library = tmp_path / "libnccl.so.2.99.1"
    library.write_bytes(bytes(mmap.PAGESIZE))
    assert library.name not in libraries.loaded()
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert library.name in libraries.loaded()


def test_the_fingerprint_of_a_cpu_is_what_it_was_before_gpus_had_one() -> None:
    """Results made earlier keep their tier: the digest is of the same fields."""
    assert place.fields(CPU) is None
    here = fingerprint(None)
    fields = ["python", "torch", "system", "machine", "cpu_vendor", "cpu_level", "cpu_flags", "threads", "switches"]
    assert here["id"] == blake3(repr([here[name] for name in fields]).encode()).hexdigest()[:16]
    assert "device" not in here

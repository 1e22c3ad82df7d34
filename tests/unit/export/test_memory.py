"""An export needs the memory of a few blocks, whatever the size of the model, of its files or of its largest tensor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest

from stages.commands.finished import finished as open_finished
from stages.export import folder, names, tokenizer
from stages.export.result import Result
from stages.export.tensors import Dtype
from stages.store import files, json_file, manifest, tensor_layout
from stages.store.shards import Shard
from stages.store.tensor_layout import Entry

MB = 10**6
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since `forget`."""
    return int(STATUS.read_text().partition(f"{field}:")[2].split()[0]) * 1024


def forget() -> None:
    CLEAR.write_text("5")  # proc(5): resets the peak


def large(result: Result, folder: Path, size: int, tensors: int) -> Result:
    """The result with generated weights of `size` bytes in all, the first tensor as large as ten others."""
    model = folder / "model" / "llm"
    model.mkdir(parents=True)
    shutil.copy(result.folder / "model/llm/config.json", model)
    width = size // 4 // (tensors + 9)
    entries = {f"model.layers.{n}.weight": Entry("F32", (width * (1 if n else 10),)) for n in range(tensors)}
    piece = bytes(range(256)) * 4096

    def blocks() -> Iterator[memoryview]:
        yield memoryview(tensor_layout.header(entries))
        left = sum(entry.size for entry in entries.values())
        while left > 0:
            yield memoryview(piece[: min(left, len(piece))])
            left -= len(piece)

    written = files.write(model / "model.safetensors", blocks(), flush=False)
    shard = Shard(file="model/llm/model.safetensors", size=written.size, blake3=written.blake3)
    record = result.record.model_copy(update={"shards": [shard]})
    json_file.write(folder / manifest.NAME, record.model_dump(mode="json"))
    return replace(result, folder=folder, record=record)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("size", "shard"),
    [
        pytest.param(200 * MB, 40 * MB, marks=pytest.mark.slow),
        pytest.param(2000 * MB, 200 * MB, marks=pytest.mark.nightly),
    ],
)
def test_no_more_than_one_file_of_weights(dtype: Dtype, size: int, shard: int, finished: Path, tmp_path: Path) -> None:
    if not CLEAR.exists():
        pytest.skip("no /proc: peaks of memory are measured on Linux")
    with chdir(finished):
        result, _ = open_finished("plain/base", "mini")
    result = large(result, tmp_path / "result", size, tensors=40)
    tokens, published = tokenizer.of(result), names.published(result)
    folder.write(result, published, tokens, dtype, 10 * MB, {}, tmp_path / "first")  # whatever is loaded at first use
    forget()
    before = held("VmRSS")
    exported = folder.write(result, published, tokens, dtype, shard, {}, tmp_path / "export")
    assert exported.shards >= (size if dtype == "fp32" else size // 2) // shard
    assert held("VmHWM") - before <= shard * 1.1

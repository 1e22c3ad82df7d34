"""What a run's offline files of W&B hold: read to where a kill or a full disk cut them off."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stages.store.layout import Layout
from stages.tracking import backends, settings, wandb_log
from stages.tracking.run import Run

KEY = "a" * 32


def log(*records: bytes) -> bytes:
    """A file as W&B's process writes it (wandb 0.31: core/pkg/leveldb)."""
    data = wandb_log.BEGINNING + b"\xe1\xbe\x00"
    for record in records:
        left, begun = record, False
        while True:
            room = wandb_log.BLOCK - len(data) % wandb_log.BLOCK
            if room < wandb_log.HEAD:
                data, room = data + bytes(room), wandb_log.BLOCK
            piece, left = left[: room - wandb_log.HEAD], left[room - wandb_log.HEAD :]
            kinds = {(False, True): 1, (False, False): 2, (True, False): 3, (True, True): 4}
            data += b"summ" + len(piece).to_bytes(2, "little") + bytes([kinds[begun, not left]]) + piece
            begun = True
            if not left:
                break
    return data


@dataclass
class Record:
    """A record with W&B's names, as JSON."""

    fields: dict[str, Any]

    @classmethod
    def FromString(cls, data: bytes) -> Record:  # noqa: N802 (protobuf's name)
        return cls(json.loads(data))

    def HasField(self, name: str) -> bool:  # noqa: N802 (protobuf's name)
        return name in self.fields

    @property
    def history(self) -> Any:
        return SimpleNamespace(step=SimpleNamespace(num=self.fields["history"]))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The packages that W&B brings along, whose records are JSON here."""
    made: dict[str, Any] = {
        name: ModuleType(name)
        for name in (
            "wandb", "wandb.proto", "wandb.proto.wandb_internal_pb2", "google", "google.protobuf",
            "google.protobuf.message",
        )
    }  # fmt: skip
    made["wandb.proto.wandb_internal_pb2"].Record = Record
    made["google.protobuf.message"].DecodeError = json.JSONDecodeError
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made["wandb"]


@pytest.mark.parametrize("sizes", [(3, 5), (wandb_log.BLOCK, 1), (wandb_log.BLOCK - 20, 100_000, 7), (32_747, 2), ()])
def test_records_come_back_over_blocks_and_none_behind_a_cut(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """32,747 bytes leave seven of the first block: a head and no more."""
    records = [bytes([65 + i]) * size for i, size in enumerate(sizes)]
    file = tmp_path / "run.wandb"
    file.write_bytes(log(*records))
    assert list(wandb_log.records(file)) == records
    file.write_bytes(log(*records)[:-1])
    assert list(wandb_log.records(file)) == records[:-1]
    file.write_bytes(b"another format " * 9)
    assert list(wandb_log.records(file)) == []


def test_the_last_step_is_that_of_all_files_and_a_damaged_record_ends_its_own(
    tmp_path: Path, wandb: ModuleType
) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(log(b'{"history": 4}', b"{", b'{"history": 9}'))
    second.write_bytes(log(b'{"history": 6}', b'{"exit": 0}'))
    assert wandb_log.kept([first]) == (4, False)
    assert wandb_log.kept([first, second]) == (6, True)
    assert wandb_log.kept([]) == (-1, False)


def offline(root: Path, wandb: ModuleType, write: Callable[[Path], object], sent: int) -> backends.Wandb:
    """A backend whose W&B writes as `write` when it ends."""
    folder = root / "w/wandb/offline-run-20260101_000001-" / f"run-{KEY}.wandb"
    folder = folder.parent.with_name(folder.parent.name + KEY) / folder.name

    def finish(exit_code: int) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        write(folder)

    run = SimpleNamespace(finish=finish, summary={}, log=lambda values, step: None)
    vars(wandb).update(Settings=lambda **_: None, init=lambda **_: run)
    wanted = settings.RawWandb(project="p", folder="w", mode="offline")
    return backends.Wandb(wanted, root, Run(Layout(root, "mini"), "tiny/long", KEY), sent)


def test_a_process_goes_on_behind_what_a_killed_one_wrote_and_a_cut_file_is_told(
    tmp_path: Path, wandb: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / f"w/wandb/offline-run-20260101_000000-{KEY}/run-{KEY}.wandb"
    whole = log(b'{"history": 9}', b'{"exit": 1}')
    assert offline(tmp_path, wandb, lambda path: path.write_bytes(whole), sent=5).has == 5, "nothing is there to ask"
    before.parent.mkdir(parents=True)
    before.write_bytes(log(b'{"history": 7}', b'{"history": 8}')[:-1])
    made = offline(tmp_path, wandb, lambda path: path.write_bytes(whole), sent=5)
    assert made.has == 7, "two more than the process could note before it was killed"
    made.finish(9, {}, "FAILED")
    monkeypatch.setattr(backends, "WRITTEN", 0.0)
    for cut in (whole[:-1], b""):
        (tmp_path / f"w/wandb/offline-run-20260101_000001-{KEY}/run-{KEY}.wandb").unlink()
        made = offline(tmp_path, wandb, partial(Path.write_bytes, data=cut), sent=5)
        with pytest.raises(OSError, match="is cut off or gone; is the disk full"):
            made.finish(9, {}, "FAILED")

"""A checkpoint that Core cannot read although its list of digests agrees: a user's mistake, or a disk's, in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.engines import Inputs
from stages.spec.resolved import Stage
from stages.store import json_file, partials, trees
from stages.store.digest import digest_file
from tests.nemo import engines
from tests.nemo.engines import Layout, layout
from tests.nemo.ranks import RankError
from tests.unit.train import tiny

pytestmark = pytest.mark.slow


def stopped(stage: Stage, given: Inputs) -> Path:
    """The checkpoint of a run that was stopped after step 4."""
    with pytest.raises(RankError, match="stopped after step 4"):
        engines.run(stage, given, engines.stopping_after(4))
    return partials.built_on(given.layout, given.key, given.parents)[0]


def list_anew(folder: Path) -> None:
    """Somebody repairs the list and not the checkpoint."""
    found = {file: digest_file(folder / file) for file in trees.files_under(folder) if file != partials.NAME}
    (folder / partials.NAME).unlink()
    json_file.write(folder / partials.NAME, {"key": partials.key_of(folder), "files": found})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def largest(state: Path) -> Path:
    return max(state.glob("*.distcp"), key=lambda path: path.stat().st_size)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "half a file": (lambda state: cut(largest(state)), "rank 0: EOFError"),
    "a file gone": (lambda state: largest(state).unlink(), "rank 0: FileNotFoundError"),
    "half an index": (lambda state: cut(state / ".metadata"), "metadata read failed"),
    "no version": (lambda state: (state / "metadata.json").unlink(), "is not a distributed checkpoint"),
    "a broken version": (lambda state: (state / "metadata.json").write_text("{"), "Expecting property name"),
    "no counts": (lambda state: (state / "steps.json").write_text(json.dumps({})), "counts no updates of llm"),
    "no state": (shutil.rmtree, "steps.json: is not there"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_read_is_named_with_what_to_do(what: str, tmp_path: Path) -> None:
    damage, said = BROKEN[what]
    stage, given = engines.on_nemo(tiny.make("next_token")), tiny.inputs(tmp_path)
    folder = stopped(stage, given)
    damage(folder / "state")
    list_anew(folder)
    with pytest.raises(RankError, match=rf"UserError: .*partial-000000004: .*{said}.*remove the folder"):
        engines.run(stage, given)
    shutil.rmtree(folder)
    engines.run(stage, given)  # the advice is right: from the checkpoint before it
    assert len(engines.left(given).rows) == 8


@pytest.mark.parametrize("where", [layout(), layout(2, tp=2)], ids=str)
def test_a_checkpoint_of_another_model_is_refused_on_every_rank(where: Layout, tmp_path: Path) -> None:
    stage = engines.on_nemo(tiny.make("next_token"), where)
    wider = stage.model_copy(update={"modules": {"llm": stage.modules["llm"].model_copy(update={"ffn": 32})}})
    given = tiny.inputs(tmp_path / "one")
    folder, other = stopped(stage, given), stopped(wider, tiny.inputs(tmp_path / "other"))
    shutil.rmtree(folder / "state")
    shutil.copytree(other / "state", folder / "state")
    list_anew(folder)
    with pytest.raises(RankError, match=r"UserError: .*shape mismatch.*remove the folder") as raised:
        engines.run(stage, given)
    assert str(raised.value).count("UserError: ") == where.ranks

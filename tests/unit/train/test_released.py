"""A released language model has to be the one that the spec describes, also where no tensor shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines import Inputs
from stages.engines.received import receive
from stages.errors import UserError
from stages.models import build, hf, release_files
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Llama3Scaling, Rope
from stages.train.ranks import Ranks
from tests.unit.train import tiny

LLAMA3 = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=32)
ROPE = Rope(base=500_000.0, llama3=LLAMA3, interpolation=1.0)
INIT = Init(weights="release", parent=None, release="tiny", optimizer="reset", layer_map=None, stand_in=False)


def importing(**changes: Any) -> Stage:
    stage = tiny.make("next_token")
    return stage.model_copy(update={"kind": "import", "phases": (), "init": {"llm": INIT}, "rope": ROPE} | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Somebody's release of the tiny model: config.json has nothing of ours."""
    stage = importing()
    torch.manual_seed(0)
    hf.save(build.make(tiny.LLAMA, ROPE, "cpu"), tiny.LLAMA, ROPE, stage.max_context, tmp_path / "tiny", None)
    edit(tmp_path / "tiny", stages=None)
    return tmp_path / "tiny"


def edit(folder: Path, **fields: object) -> None:
    """Set fields of config.json; None takes one away."""
    found = json.loads((folder / "config.json").read_text()) | fields
    kept = {key: value for key, value in found.items() if value is not None or key not in fields}
    (folder / "config.json").write_text(json.dumps(kept))


def given(folder: Path) -> Inputs:
    return Inputs(**{**tiny.inputs(folder.parent).__dict__, "releases": {"tiny": folder}})


def refused(stage: Stage, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        receive(stage, given(folder), torch.device("cpu"))
    said = str(caught.value)
    assert all(line.startswith(f"{folder / 'config.json'}:") for line in said.splitlines())
    assert said.endswith("Correct the spec, or give the folder of the release that it means.")
    return said


def test_the_model_that_the_spec_describes_is_taken(folder: Path) -> None:
    module = receive(importing(), given(folder), torch.device("cpu"))["llm"]
    torch.manual_seed(0)
    for name, tensor in build.make(tiny.LLAMA, ROPE, "cpu").state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base": 50_000.0}, "rope_theta: found 500000.0; allowed: 50000.0"),
        ({"interpolation": 8.0}, "rope_scaling.rope_type: found 'llama3'; allowed: 'longrope'"),
        ({"llama3": LLAMA3.model_copy(update={"high": 5.0})}, "rope_scaling.high_freq_factor: found 4.0; allowed: 5.0"),
        ({"llama3": None}, "rope_scaling.rope_type: found 'llama3'; allowed: 'default'"),
    ],
)
def test_other_rotary_positions_are_refused_with_both_values(change: dict[str, Any], said: str, folder: Path) -> None:
    assert said in refused(importing(rope=ROPE.model_copy(update=change)), folder)


def test_another_longest_context_and_what_has_no_shape_are_refused(folder: Path) -> None:
    longer = importing().max_context * 2
    said = refused(importing(max_context=longer), folder)
    assert f"max_position_embeddings: found {longer // 2}; allowed: {longer}" in said
    lax = tiny.LLAMA.model_copy(update={"norm_eps": 1e-6})
    assert "rms_norm_eps: found 1e-05; allowed: 1e-06" in refused(importing(modules={"llm": lax}), folder)
    fewer = tiny.LLAMA.model_copy(update={"heads": 1, "kv_heads": 1, "head_dim": 16})  # the same tensors
    said = refused(importing(modules={"llm": fewer}), folder)
    assert "head_dim: found 8; allowed: 16" in said
    assert "num_attention_heads: found 2; allowed: 1" in said


def test_how_weights_would_begin_is_no_matter_where_all_come_in(folder: Path) -> None:
    other = tiny.LLAMA.model_copy(update={"init_std": 0.5})
    assert "llm" in receive(importing(modules={"llm": other}), given(folder), torch.device("cpu"))


def test_rotary_positions_as_transformers_5_writes_them_are_understood(folder: Path) -> None:
    found = json.loads((folder / "config.json").read_text())
    together = found["rope_scaling"] | {"rope_theta": found["rope_theta"]}
    edit(folder, rope_theta=None, rope_scaling=None, rope_parameters=together)
    receive(importing(), given(folder), torch.device("cpu"))
    edit(folder, rope_parameters={"rope_type": "default", "rope_theta": tiny.ROPE.base})
    assert "rope_parameters.rope_type: found 'default'; allowed: 'llama3'" in refused(importing(), folder)
    receive(importing(rope=tiny.ROPE), given(folder), torch.device("cpu"))
    edit(folder, rope_parameters=None)
    assert "rope_theta: found nothing; allowed: " in refused(importing(), folder)


def test_a_stand_in_is_compared_with_nothing() -> None:
    stage = importing(init={"llm": INIT.model_copy(update={"stand_in": True})})
    assert "llm" in receive(stage, tiny.inputs(Path("nowhere")), torch.device("cpu"))


class Two(Ranks):
    """One of two ranks, the other of which says `theirs`."""

    def __init__(self, rank: int, theirs: str = "") -> None:
        super().__init__(rank, 1)
        self.theirs, self.said = theirs, ""

    def texts(self, text: str) -> list[str]:
        self.said = text
        return [self.theirs, text] if self.rank else [text, self.theirs]


def test_a_folder_is_read_in_full_by_one_rank_of_a_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others believe it, and fail with it."""
    read: list[Path] = []
    measured = release_files.digest
    monkeypatch.setattr(release_files, "digest", lambda folder: read.append(folder) or measured(folder))
    stage = importing(init={"llm": INIT.model_copy(update={"digest": measured(folder)})})
    for rank, times in ((0, 1), (1, 0)):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        read.clear()
        receive(stage, given(folder), torch.device("cpu"), Two(rank))
        assert len(read) == times
    with pytest.raises(UserError, match="another folder"):
        receive(stage, given(folder), torch.device("cpu"), Two(1, "another folder"))
    wrong = importing(init={"llm": INIT.model_copy(update={"digest": "a" * 64})})
    monkeypatch.setenv("LOCAL_RANK", "0")
    first = Two(0)
    with pytest.raises(UserError, match=f"allowed: {'a' * 64}"):
        receive(wrong, given(folder), torch.device("cpu"), first)
    assert "allowed" in first.said  # what the others hear

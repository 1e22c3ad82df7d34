"""What a stage without steps hands on is made again: equal in every bit, and a tensor that is another is named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stages.engines import Inputs
from stages.errors import UserError
from stages.forensics.remade import Remade, remade
from stages.spec.key import phase_keys
from stages.store import fingerprint, json_file, manifest
from stages.store.layout import Layout
from tests.faults import cases, whole
from tests.faults.cases import RELEASE, RELEASES, Case
from tests.unit.data.small import Small, build

KINDS = ("upcycle", "merge", "keep", "export", "import")
Made = dict[str, tuple[Case, Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A finished stage of each kind that has no steps, with what it is made from: of most the merge's second parent."""
    root = tmp_path_factory.mktemp("remade")
    small: Small = build(root / "small")
    found = {}
    for kind in ("upcycle", "merge"):
        folder = root / kind
        case = cases.lay(cases.make(kind, small), folder, small, partial(whole.run, root=folder))
        found[kind] = case, folder
    case, folder = found["merge"]
    shutil.copytree(Layout(folder, cases.SCALE).stage("tiny/parent") / "model/llm", folder / RELEASES / RELEASE)
    for kind in ("keep", "export", "import"):
        case = cases.make(kind, small)
        stage = cases.declared(case.stage, folder / RELEASES / RELEASE) if kind == "import" else case.stage
        found[kind] = replace(case, stage=stage.model_copy(update={"name": kind})), folder
    for case, folder in found.values():
        whole.run(case, folder)
    return found


def again(case: Case, root: Path) -> Remade:
    layout, stage = Layout(root, cases.SCALE), case.stage
    above = {parent: case.keys[parent] for parent in stage.parents}
    releases = {RELEASE: root / RELEASES / RELEASE}
    chained = phase_keys(stage, above)
    return remade(stage, Inputs(layout, case.key, chained, manifest.parents(layout, above), layout.data, releases))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_equal_to_its_last_bit(kind: str, made: Made) -> None:
    case, root = made[kind]
    found = again(case, root)
    assert found.equal
    assert (found.tensors > 0) == (kind != "keep")
    assert found.folder == Layout(root, cases.SCALE).stage(case.ref)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "keep"])
def test_a_bit_of_the_result_that_is_another_is_named_by_its_tensor(kind: str, made: Made) -> None:
    case, root = made[kind]
    path = Layout(root, cases.SCALE).stage(case.ref) / "model/llm/model.safetensors"
    whole_file = path.read_bytes()
    try:
        path.write_bytes(whole_file[:-1] + bytes([whole_file[-1] ^ 1]))
        found = again(case, root)
    finally:
        path.write_bytes(whole_file)
    assert [name.startswith("llm.") for name in found.differing] == [True]


def test_a_pointer_that_leads_elsewhere_is_another_one(made: Made) -> None:
    case, root = made["keep"]
    path = Layout(root, cases.SCALE).manifest(case.ref)
    record, written = manifest.read(path), path.read_bytes()
    try:
        json_file.write(path, {**record.model_dump(mode="json"), "points_to": None})
        found = again(case, root)
    finally:
        path.write_bytes(written)
    assert found.differing == (f"leads to nothing, not to {record.points_to}",)


@pytest.mark.parametrize(("kind", "handed"), [("upcycle", True), ("merge", False)])
def test_an_optimizer_s_state_that_is_gone_or_nobody_s_is_named(kind: str, handed: bool, made: Made) -> None:
    case, root = made[kind]
    state = Layout(root, cases.SCALE).stage(case.ref) / "state/optimizer.safetensors"
    aside = state.with_suffix(".aside")
    try:
        if handed:
            state.rename(aside)
        else:
            save_file({"llm.step": torch.tensor(3)}, state)
        found = again(case, root)
    finally:
        aside.rename(state) if handed else state.unlink()
    assert "llm.step" in found.differing


def test_a_merge_with_other_shares_is_another_one(made: Made) -> None:
    case, root = made["merge"]
    first, second = case.stage.merge or ()
    swapped = (first.model_copy(update={"part": second.part}), second.model_copy(update={"part": first.part}))
    layout, stage = Layout(root, cases.SCALE), case.stage.model_copy(update={"merge": swapped})
    above = {parent: case.keys[parent] for parent in stage.parents}
    found = remade(stage, Inputs(layout, case.key, (), manifest.parents(layout, above), layout.data, {}))
    assert len(found.differing) > found.tensors / 2, "norms that are one in both are the same"


def test_where_equal_bits_are_not_promised_it_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    case, root = made["merge"]
    elsewhere = {**fingerprint.fingerprint({}), "id": "f" * 16}
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "fingerprint", lambda *_: elsewhere)
        with pytest.raises(UserError, match="computed in the environment"):
            again(case, root)
    nemo = case.stage.model_copy(update={"execution": case.stage.execution.model_copy(update={"engine": "nemo"})})
    with pytest.raises(UserError, match="the nemo engine; allowed: tier bit-exact"):
        again(replace(case, stage=nemo), root)
    with pytest.raises(UserError, match="not finished under its key"):
        again(replace(case, stage=case.stage.model_copy(update={"seed": 77})), root)

"""A file with conversations longer than the context, from its row counts to a stage that is refused or trained."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stages.commands.data import prepare
from stages.commands.plan import print_plan
from stages.commands.run import run_stage
from stages.data.corpus.prepared import Corpus
from stages.data.loading.loader import PhaseData
from stages.errors import SpecError, UserError
from stages.report.metrics import read
from stages.report.table import padding
from stages.spec.project import Project
from stages.store import attempts
from stages.store.layout import Layout
from tests.unit.cli.own_chats import SCALE, accept, write
from tests.unit.spec.small_project import edit

SHIPPED = Path(__file__).parents[3]
ROWS = 150  # of 128 tokens, from 21,500 tokens of which 8,500 are in conversations that are longer
STEPS = -(-ROWS // 4)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, str(ROWS * 128), short=300, long=60)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stage_that_would_run_out_of_rows_is_refused_before_anything_is_trained(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody measured what fits, and its tokens seem to be enough."""
    accept(root, capsys, measured=False)
    prepare("chats", SCALE)
    key = Project.load(root).resolve("toy", SCALE).keys["first"]
    with pytest.raises(UserError) as caught:
        run_stage("toy/first", SCALE, None)
    said, layout = str(caught.value), Layout(root, SCALE)
    found = re.match(rf"toy/first, phase short: {ROWS} rows of chats are needed, (\d+) are there in 1 epoch", said)
    assert found is not None
    assert 0 < int(found[1]) < ROWS
    assert "longer than the context of 128 and left out. Nothing was trained." in said
    assert not list(attempts.folders(layout, key))
    assert not layout.stage("toy/first").exists()
    assert said in layout.log(key).read_text()
    shutil.copytree(SHIPPED / "specs" / "hardware", root / "specs" / "hardware")
    capsys.readouterr()
    print_plan(("toy",), SCALE, None, False, False)
    planned, made = capsys.readouterr().out, Corpus(layout.corpus("chats"))
    long = np.diff(made.offsets[: made.training_documents + 1])
    long = long[long > 128]
    assert (
        f"prepared: chats: {made.manifest.heldout} documents are held out, {made.training_documents} are for training\n"
        f"prepared: chats: {len(long)} documents, {long.sum()} tokens, are longer than the context of 128 and left "
        "out by toy/first\n"
    ) in planned


def test_what_is_measured_is_told_by_check_and_its_advice_is_enough(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(root, capsys)
    with pytest.raises(SpecError, match=f"a demand of {ROWS} rows of 128 tokens of 'chats'") as caught:
        Project.load(root).resolve("toy", SCALE)
    (epochs,) = re.findall(r"(\d+) are enough", str(caught.value))
    edit(root, "toy/first.yaml", "epochs: 1", f"epochs: {epochs}")
    prepare("chats", SCALE)
    run_stage("toy/first", SCALE, None)
    with (Layout(root, SCALE).stage("toy/first") / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == STEPS


def test_a_budget_in_epochs_reads_every_conversation_that_fits_so_often(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(root, "toy/first.yaml", f"budget: {ROWS * 128}\n", "budget: 2 epochs\n")
    edit(root, "toy/first.yaml", "    epochs: 1\n", "")
    accept(root, capsys)
    prepare("chats", SCALE)
    run_stage("toy/first", SCALE, None)
    layout = Layout(root, SCALE)
    (phase,) = Project.load(root).resolve("toy", SCALE).stages["first"].phases
    rows = phase.budget // 128
    data = PhaseData(phase, 1, "any", layout.data)
    documents = Counter(document for row in data.samples(0, rows, 0) for _, document, _, _ in row.spans)
    corpus = Corpus(layout.corpus("chats"))
    lengths = np.diff(corpus.offsets[: corpus.training_documents + 1])
    assert documents == dict.fromkeys(np.flatnonzero(lengths <= 128).tolist(), 2)
    with (layout.stage("toy/first") / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == -(-rows // 4)
    result = read(layout.stage("toy/first"))
    tokens = 2 * int(lengths[lengths <= 128].sum())
    assert result.run.read == [{"chats": tokens}]
    assert padding(result) == pytest.approx(1 - tokens / phase.budget)


def test_the_largest_budget_that_check_accepts_is_trained_to_its_end(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(root, capsys)
    prepare("chats", SCALE)
    rows = ROWS
    while True:
        edit(root, "toy/first.yaml", f"budget: {rows * 128}", f"budget: {(rows - 1) * 128}")
        rows -= 1
        try:
            Project.load(root).resolve("toy", SCALE)
            break
        except SpecError:
            continue
    assert rows * 128 > 12_984  # more positions than there are tokens that fit: padding is in them
    run_stage("toy/first", SCALE, None)
    assert Layout(root, SCALE).stage("toy/first").exists()

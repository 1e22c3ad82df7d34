"""`stages batch` and `stages where`: figures without corpora, text with them, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages.commands.batch import print_batch
from stages.commands.data import prepare
from stages.commands.replay import print_replay
from stages.commands.where import print_where
from stages.errors import UsageError, UserError
from tests.edits import substituted
from tests.unit.cli.own_chats import SCALE, accept, write
from tests.unit.spec.small_project import edit

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def chats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project that fine-tunes on conversations; the corpus is declared and not prepared."""
    write(tmp_path, str(30 * 128), short=200, long=3)
    monkeypatch.chdir(tmp_path)
    accept(tmp_path, capsys)
    return tmp_path


def test_any_step_of_a_pipeline_of_trillions_of_tokens_has_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_batch("ouro/stable_1", 391_391, "paper", text=False, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["step"], found["steps"], found["end"]) == (391_391, 391_391, 2_991_611_392_000)
    assert found["not_prepared"] == ["nemotron_cc", "map_cc", "ultra_fineweb_zh", "opencoder_pretrain", "megamath_web"]
    assert [row["sample"] for row in found["rows"]] == list(range(found["rows"][0]["sample"], 730_373_875))
    assert {row["spans"] for row in found["rows"]} == {None}
    print_batch("ouro/stable_1", 391_391, "paper", text=False, as_json=False)
    said = capsys.readouterr().out
    assert "phase main, tokens 2,991,604,105,216 to 2,991,611,392,000" in said
    assert said.count("specs/data/bind.yaml") == 1
    assert "bind nemotron_cc, map_cc, " in said


@pytest.mark.parametrize("step", [0, -1, 391_392])
def test_a_step_that_is_not_there_is_refused_with_those_that_are(step: int) -> None:
    with pytest.raises(UsageError, match=r"ouro/stable_1: found step .*; allowed: 1 to 391,391\."):
        print_batch("ouro/stable_1", step, "paper", text=False, as_json=False)


def test_what_trains_nothing_reads_nothing() -> None:
    with pytest.raises(UsageError, match=r"ouro/keep_1_4b: kind keep, trains nothing"):
        print_batch("ouro/keep_1_4b", 1, "mini", text=False, as_json=False)


@pytest.mark.parametrize(
    ("ref", "steps", "said"),
    [
        ("ouro/upcycle_2_6b", "1..2", "--steps: ouro/upcycle_2_6b is of kind upcycle and has none. Leave --steps out"),
        ("ouro/warmup", None, r"--steps: not given; allowed: A\.\.B, A\.\. or A, of the steps of ouro/warmup"),
    ],
)
def test_steps_are_asked_of_what_has_them(ref: str, steps: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        print_replay(ref, steps, "mini", None, as_json=False)


def test_names_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"no stage 'ouro/stable'; there are: ouro/warmup, ouro/stable_1"):
        print_batch("ouro/stable", 1, "mini", text=False, as_json=False)
    with pytest.raises(UsageError, match=r"no pipeline 'our'; there are: .*ouro"):
        print_batch("our/stable_1", 1, "mini", text=False, as_json=False)
    with pytest.raises(UsageError, match=r"no corpus 'pros'; there are: .*prose"):
        print_where("pros", 1, None, "mini", as_json=False)


def test_text_needs_the_corpus_and_says_how_to_have_it(chats: Path) -> None:
    with pytest.raises(UserError, match=r"chats not prepared.*`stages data chats --scale paper`"):
        print_batch("toy/first", 1, SCALE, text=True, as_json=False)
    with pytest.raises(UserError, match=r"corpus chats is not prepared; run `stages data chats --scale paper`"):
        print_where("chats", 1, None, SCALE, as_json=False)


def test_every_corpus_that_is_not_prepared_is_named_at_once(chats: Path) -> None:
    """The cut row at the end of a phase of conversations may come from any of its corpora."""
    declared = (chats / "specs/data/chats.yaml").read_text()
    for name, digest in (("more", "1" * 64), ("most", "2" * 64)):
        other = substituted(
            declared.replace("corpus: chats", f"corpus: {name}"), r'digest: "\w+"', f'digest: "{digest}"'
        )
        (chats / f"specs/data/{name}.yaml").write_text(other)
    share = "      - {corpus: chats, share: 100%, group: text}\n"
    shares = zip(("chats", "more", "most"), (50, 25, 25), strict=True)
    mixed = "".join(share.replace("chats", name).replace("100", str(of)) for name, of in shares)
    edit(chats, "data/mixtures.yaml", share, mixed)
    prepare("chats", SCALE)
    with pytest.raises(UserError) as refused:
        print_where("chats", 1, None, SCALE, as_json=False)
    folder = chats / "results" / SCALE / "data"
    assert str(refused.value).splitlines() == [
        f"{folder / name}/manifest.json: corpus {name} is not prepared; run `stages data {name} --scale {SCALE}`"
        for name in ("more", "most")
    ]


def test_a_document_of_a_batch_is_found_and_its_text_shows_what_is_learned(
    chats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare("chats", SCALE)
    capsys.readouterr()
    print_batch("toy/first", 5, SCALE, text=False, as_json=True)
    row = json.loads(capsys.readouterr().out)["rows"][1]
    document = row["spans"][0]["document"]
    print_where("chats", document, "toy", SCALE, as_json=False)
    assert f"toy/first, phase short, step 5, row 2: all of it, epoch {row['epoch']}" in capsys.readouterr().out
    print_where("chats", document, None, SCALE, as_json=True)
    assert {"stage": "toy/first", "step": 5, "row": 2}.items() <= json.loads(capsys.readouterr().out)["reads"][
        0
    ].items()
    print_batch("toy/first", 5, SCALE, text=True, as_json=False)
    said = capsys.readouterr().out
    _, _, rest = said.partition(f"--- row 2, chats {document} [0, {row['spans'][0]['end']})\n")
    number = rest.partition("?")[0].rpartition("«user»")[2].split()[-1]
    assert f"{number} + {number} = {2 * int(number)}." in next(line for line in rest.splitlines() if line[:1] == "+")
    print_batch("toy/first", 5, SCALE, text=False, as_json=False)
    assert f": {document} [0, {row['spans'][0]['end']})" in capsys.readouterr().out


def test_a_document_that_nothing_reads_says_why(chats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare("chats", SCALE)
    whys = set()
    for document in range(1, 204):
        capsys.readouterr()
        print_where("chats", document, None, SCALE, as_json=False)
        whys |= {line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines() if "  not by" in line}
    assert "it is longer than the context of 128, and left out" in whys
    assert "the budget ends before it" in whys
    with pytest.raises(UsageError, match=r"chats: found document 204; allowed: 1 to 203"):
        print_where("chats", 204, None, SCALE, as_json=False)


def test_both_load_no_torch() -> None:
    code = (
        "import sys; from stages.commands.batch import print_batch; import stages.commands.where;"
        "print_batch('ouro/stable_1', 7, 'paper', False, False); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0

"""`stages data`: a corpus of one's own from its file to its declaration, and nothing on stdout but that."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest
import yaml

from stages.commands.data import prepare, print_declaration
from stages.commands.status import print_status
from stages.data.preparing import pool
from stages.data.preparing.measured import declaration
from stages.data.preparing.prepare import prepare as prepare_corpus
from stages.errors import UserError
from stages.store import lease
from stages.store.layout import Layout
from tests.unit.data.small import ZERO, spec, write_spec
from tests.unit.spec import small_project

OWN = {"corpus": "mine", "kind": "text", "unit": "tokens", "builder": "file", "path": "data/mine.txt"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose tokenizer is declared but not prepared, with a file of the user's and a spec for it."""
    small_project.write(tmp_path)
    write_spec(tmp_path, "math", spec("math"))
    words = {"tokenizer": "test", "vocab": 300, "digest": ZERO, "corpora": ["math"], "characters": 4000}
    write_spec(tmp_path, "tokenizer", words)
    made = prepare_corpus(tmp_path, "tokenizer", tmp_path / "elsewhere" / "tokenizer", accept=True)
    write_spec(tmp_path, "tokenizer", {**words, **yaml.safe_load(declaration(made))})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("\n\n".join(f"document {number}" for number in range(30)))
    write_spec(tmp_path, "mine", OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_accept_prints_makes_the_spec_whole(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_declaration("mine")
    said = capsys.readouterr()
    with (project / "specs/data/mine.yaml").open("a") as file:  # as `>> specs/data/mine.yaml` does
        file.write(said.out)
    assert said.err.startswith("tokenizer: ")
    print_declaration("mine")  # typed again by mistake
    said = capsys.readouterr()
    assert (said.out, "specs/data/mine.yaml declares this already" in said.err) == ("", True)
    prepare("mine", "mini")
    assert "mine: 2" in capsys.readouterr().err
    assert len(list((project / "results/.markers/mini/data").glob("mine.*"))) == 1


def test_status_says_what_a_corpus_leaves_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = {**OWN, "corpus": "theirs", "path": "data/theirs.txt"}
    (project / "data" / "theirs.txt").write_text("\n\n".join(f"document {number}" for number in range(5, 40)))
    (project / "data" / "mine.txt").write_text("\n\n".join(f"document {number}" for number in range(11)) + "\n\nlast")
    more = {"decontaminate": {"against": {"theirs": "all"}, "words": 3, "found": "report"}}
    write_spec(project, "theirs", theirs)
    write_spec(project, "mine", {**OWN, "without": ["theirs"]})
    for name in ("theirs", "mine"):
        print_declaration(name)
        with (project / f"specs/data/{name}.yaml").open("a") as file:
            file.write(capsys.readouterr().out)
    assert print_status("mini", (), deep=False, failed=False, as_json=False) == 0
    assert re.search(r"data/mine: left out 6 documents, \d+ tokens, that theirs has", capsys.readouterr().out)
    write_spec(project, "mine", {**OWN, **more})
    (project / "data" / "theirs.txt").write_text("\n\n".join(["this is document 3", "no more", "or less"]))
    print_declaration("mine")
    said = capsys.readouterr().err
    assert "0 documents, 0 tokens, with text of theirs; 2 of its 3 documents are shorter than an n-gram" in said


def test_accept_measures_the_contexts_that_phases_read_at(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """48 tokens, where a context of 3 Ki is a 64th of that; none at which the corpus is less than a row."""
    small_project.edit(project, "toy/second.yaml", "context: 8Ki", "context: 3Ki")
    print_declaration("mine")
    packed = yaml.safe_load(capsys.readouterr().out)["packed"]
    assert 48 in packed
    assert {32, 64, 128} <= set(packed)
    assert max(packed) < 1024


def test_a_mistake_in_the_spec_is_told_before_anything_is_prepared(project: Path) -> None:
    write_spec(project, "mine", {**OWN, "kind": "pairs"})
    with pytest.raises(UserError, match=r"specs/data/mine\.yaml:\d+: kind: found 'pairs'; allowed: text or sft"):
        print_declaration("mine")
    assert not (project / "results").exists()


def test_a_tokenizer_that_there_is_not_is_named_at_its_line(project: Path) -> None:
    write_spec(project, "mine", {**OWN, "tokenizer": "own"})
    with pytest.raises(UserError, match=r"mine\.yaml:\d+: tokenizer: found the unknown tokenizer 'own'; allowed: none"):
        print_declaration("mine")


def test_ctrl_c_says_what_the_same_command_does(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "encode_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        print_declaration("mine")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("\nmine: stopped by Ctrl-C; the same command goes on with what is encoded of files\n")
    assert (project / "results/mini/data/.mine.runs/made_of.json").is_file()


def test_a_file_is_read_again_whenever_it_is_asked_for(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_declaration("mine")
    with (project / "specs/data/mine.yaml").open("a") as file:
        file.write(capsys.readouterr().out)
    prepare("mine", "mini")
    (project / "data" / "mine.txt").write_text("another\n\nfile")
    with pytest.raises(UserError, match="run `stages data mine --accept`"):
        prepare("mine", "mini")
    print_declaration("mine")
    said = capsys.readouterr()
    assert "digest: " in said.out
    assert "specs/data/mine.yaml declares something else; put these lines in place of those there" in said.err
    with pytest.raises(UserError, match=r"no corpus 'mien'; .* Did you mean 'mine'\?"):
        print_declaration("mien")


def test_a_changed_bit_is_mended_when_asked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The quick look that Snakemake takes does not see it; the command that the error names does."""
    prepare("tokenizer", "mini")
    path = project / "results/mini/data/tokenizer/tokenizer.json"
    whole = path.read_bytes()
    path.write_bytes(b"#" + whole[1:])
    prepare("tokenizer", "mini")
    assert path.read_bytes() == whole
    prepare("tokenizer", "mini")
    assert capsys.readouterr().err.splitlines()[-1].startswith("tokenizer: prepared already")


def test_what_snakemake_no_longer_means_is_not_prepared(project: Path) -> None:
    """The tokenizer's spec was edited while its job waited in a queue."""
    awaited = Path(f"results/.markers/mini/data/tokenizer.{'a' * 32}")
    with pytest.raises(UserError, match=r"tokenizer: edited, or something before it, since Snakemake was started"):
        prepare("tokenizer", "mini", awaited)
    assert not (project / "results").exists()


def test_a_declaration_waits_for_another_preparation(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two at once would remove each other's runs."""
    prepare("tokenizer", "mini")
    layout, begun, ended = Layout(project, "mini"), threading.Event(), threading.Event()

    def another() -> None:
        with lease.hold(layout.preparation("tokenizer"), "tokenizer"):
            begun.set()
            time.sleep(1.2)
            ended.set()

    thread = threading.Thread(target=another)
    thread.start()
    assert begun.wait(10)
    print_declaration("tokenizer")
    assert ended.is_set()
    thread.join()
    assert "tokenizer: waiting for" in capsys.readouterr().err


def test_a_corpus_that_another_process_prepares_is_waited_for_and_not_built_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one whose driver was killed: it goes on, and a new driver starts the same."""
    prepare("tokenizer", "mini")
    layout = Layout(project, "mini")
    prepared, begun = layout.corpus("tokenizer"), threading.Event()
    aside = project / "aside"
    prepared.rename(aside)

    def another() -> None:
        with lease.hold(layout.preparation("tokenizer"), "tokenizer"):
            begun.set()
            time.sleep(1.2)
            aside.rename(prepared)

    thread = threading.Thread(target=another)
    thread.start()
    assert begun.wait(10)
    capsys.readouterr()
    prepare("tokenizer", "mini")
    thread.join()
    said = capsys.readouterr().err
    assert "tokenizer: waiting for" in said
    assert said.endswith("tokenizer: prepared already, as specs/data/tokenizer.yaml declares\n")

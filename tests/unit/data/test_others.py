"""Corpora that give way to others, and decontamination: what is left out is exact and counted, for any processes."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages.data import buckets, hashes, others, pieces, prepare, worker
from stages.data.document import plain
from stages.data.ngrams import NGrams
from stages.data.prepared import Corpus, DataManifest
from stages.errors import SpecError, SpecErrors, UserError
from stages.spec.files import Files
from stages.store import files
from tests.faults.disks import Failing, PowerCutError, using
from tests.unit.data.small import Small, write_spec
from tests.unit.data.test_user import project, texts

__all__ = ["project"]

OWN = [f"document {number} of my own, with a few words that nobody else has" for number in range(60)]
THEIRS = [f"text {number} of theirs, which others copy" for number in range(30)]
EXAM = [f"exam {number}: what is the sum of {number} and {number + 7}, and why is it larger" for number in range(20)]


def rows(root: Path, name: str, said: list[str], how: str = "jsonl") -> str:
    """A file of these texts, and its path."""
    data = b"".join(json.dumps({"text": one}).encode() + b"\n" for one in said)
    if how == "txt":
        data = "\n\n".join(said).encode()
    (root / f"{name}.{how}").write_bytes(gzip.compress(data) if how.endswith("gz") else data)
    return f"{name}.{how}"


def declare(project: Small, name: str, path: str, **more: Any) -> None:
    kind = more.pop("kind", "text")
    content = {"corpus": name, "kind": kind, "unit": "tokens", "builder": "file", "path": path}
    write_spec(project.root, name, {**content, **more})


def run(project: Small, processes: int = 1) -> DataManifest:
    return prepare.prepare(project.root, "mine", project.data / "mine", accept=True, processes=processes)


def said(project: Small) -> list[str]:
    return sorted(one.removeprefix("<bos>").removesuffix("<eos>") for one in texts(project))


def tokens(project: Small, wanted: list[str]) -> int:
    """What these texts come to, prepared alone."""
    declare(project, "alone", rows(project.root, "alone", wanted))
    made = prepare.prepare(project.root, "alone", project.data / "alone", accept=True)
    return int(Corpus(project.data / "alone").offsets[made.documents + made.heldout])


@pytest.mark.parametrize("how", ["jsonl", "jsonl.gz", "txt"])
def test_what_another_corpus_has_is_left_out_in_whatever_format_it_has_it(project: Small, how: str) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS, how))
    mixed = [*OWN, *THEIRS[3:12], *THEIRS[3:5]]
    random.Random(1).shuffle(mixed)
    declare(project, "mine", rows(project.root, "mine", mixed), without=["theirs"])
    made = run(project)
    assert said(project) == sorted(OWN)
    assert made.inputs is not None
    assert made.inputs.without is not None
    left = made.inputs.without["theirs"]
    assert (left.documents, left.tokens) == (11, tokens(project, [*THEIRS[3:12], *THEIRS[3:5]]))
    assert made.inputs.decontaminated is None
    assert [one.name for one in project.data.glob(".*")] == []


def test_a_document_is_counted_for_the_first_of_the_corpora_that_has_it(project: Small) -> None:
    declare(project, "first", rows(project.root, "first", THEIRS[:6]))
    declare(project, "second", rows(project.root, "second", THEIRS[4:10]))
    path = rows(project.root, "mine", OWN + THEIRS)
    for order, counts in ((["first", "second"], [6, 4]), (["second", "first"], [6, 4])):
        declare(project, "mine", path, without=order)
        made = run(project)
        assert made.inputs is not None
        assert made.inputs.without is not None
        assert [made.inputs.without[name].documents for name in order] == counts
        assert said(project) == sorted(OWN + THEIRS[10:])


def test_conversations_are_compared_as_a_whole_and_whatever_shape_they_have(project: Small) -> None:
    chats = [(f"{number} + 1?", f"{number + 1}") for number in range(30)]
    alpaca = [json.dumps({"instruction": ask, "output": answer}) for ask, answer in chats[:8]]
    (project.root / "theirs.jsonl").write_text("\n".join(alpaca))
    declare(project, "theirs", "theirs.jsonl", kind="sft", rows="alpaca")
    turns = [[{"role": "user", "content": ask}, {"role": "assistant", "content": said}] for ask, said in chats]
    (project.root / "mine.jsonl").write_text("\n".join(json.dumps({"messages": one}) for one in turns))
    declare(project, "mine", "mine.jsonl", kind="sft", without=["theirs"])
    made = run(project)
    assert made.documents + made.heldout == 22
    corpus = Corpus(project.data / "mine")
    assert corpus.supervised is not None
    assert len(corpus.supervised) == len(corpus.tokens)


def test_without_others_the_bytes_are_those_of_before(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    path = rows(project.root, "mine", OWN)
    declare(project, "mine", path)
    before = run(project)
    declare(project, "mine", path, without=["theirs"])
    assert run(project).digest == before.digest
    assert before.inputs is not None
    assert "without" not in before.model_dump_json(exclude_none=True)


def exam(project: Small, mixed: list[str], against: dict[str, str], words: int = 6, found: str = "remove") -> None:
    declare(project, "exam", rows(project.root, "exam", EXAM))
    more = {"decontaminate": {"against": against, "words": words, "found": found}}
    declare(project, "mine", rows(project.root, "mine", mixed), **more)


QUOTED = f"They asked us:  WHAT, is the SUM of 3 and 10; and why! Nobody knew. {OWN[3]}"
NEAR = "what is the sum of 3 and"  # five words of the exam, and the sixth is another


def test_documents_with_text_of_an_evaluation_set_are_left_out(project: Small) -> None:
    """Punctuation, capitals and spaces do not hide it; fewer words in a row than an n-gram are not enough."""
    near = "They asked what is the sum of, and then something else"
    exam(project, [*OWN, QUOTED, near, EXAM[0]], {"exam": "all"})
    made = run(project)
    expected = [*OWN, near]
    kept = said(project)
    heldout_quotes = [one for one in (QUOTED, EXAM[0]) if one in kept]
    assert kept == sorted([*expected, *heldout_quotes])
    assert made.inputs is not None
    assert made.inputs.decontaminated is not None
    matched = made.inputs.decontaminated["exam"]
    assert (matched.of, matched.short, matched.documents) == (20, 0, 2 - len(heldout_quotes))
    assert matched.documents > 0


def test_they_may_be_reported_alone(project: Small) -> None:
    mixed = [*OWN, QUOTED, EXAM[0]]
    exam(project, mixed, {"exam": "all"})
    removed = run(project)
    exam(project, mixed, {"exam": "all"}, found="report")
    made = run(project)
    assert said(project) == sorted(mixed)
    assert made.inputs is not None
    assert removed.inputs is not None
    assert made.inputs.decontaminated == removed.inputs.decontaminated


def test_its_own_held_out_documents_are_an_evaluation_set_too(project: Small) -> None:
    """A training document that quotes one goes; the held-out one stays, and so does what quotes training documents."""
    base = [" ".join(f"word{number}x{place}" for place in range(15)) for number in range(200)]
    heldout = next(one for one in base if plain_heldout(one))
    training = next(one for one in base if not plain_heldout(one))
    prefix = next(n for n in range(100) if not plain_heldout(f"{n} says: {heldout}"))
    quotes = [f"{prefix} says: {heldout}", f"also: {training}"]
    more = {"decontaminate": {"against": {"mine": "heldout"}, "words": 13, "found": "remove"}}
    declare(project, "mine", rows(project.root, "mine", [*base, *quotes]), **more)
    made = run(project)
    kept = said(project)
    assert heldout in kept
    assert quotes[1] in kept
    assert quotes[0] not in kept
    assert made.inputs is not None
    assert made.inputs.decontaminated is not None
    assert made.inputs.decontaminated["mine"].of == sum(map(plain_heldout, base + quotes))


def plain_heldout(text: str) -> bool:
    return others.records.document_of_text(text).heldout


def test_what_is_shorter_than_an_n_gram_is_counted_and_a_set_of_nothing_else_is_refused(project: Small) -> None:
    exam(project, OWN, {"exam": "all"}, words=13)
    made = run(project)
    assert made.inputs is not None
    assert made.inputs.decontaminated is not None
    assert made.inputs.decontaminated["exam"].short == 0
    exam(project, OWN, {"exam": "all"}, words=14)
    (project.root / "exam.jsonl").write_text(json.dumps({"text": "too short"}) + "\n" + json.dumps({"text": EXAM[11]}))
    made = run(project)
    assert made.inputs is not None
    assert made.inputs.decontaminated is not None
    assert (made.inputs.decontaminated["exam"].of, made.inputs.decontaminated["exam"].short) == (2, 1)
    (project.root / "exam.jsonl").write_text(json.dumps({"text": "too short"}) + "\n")
    with pytest.raises(UserError, match=r"decontaminate: none of the 1 documents of exam that count has 14 words"):
        run(project)
    assert [one.name for one in project.data.iterdir() if one.name.startswith(".")] == []


@pytest.fixture
def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 900)
    monkeypatch.setattr(worker, "TOKENS", 300)
    monkeypatch.setattr(worker, "CHARACTERS", 200)
    monkeypatch.setattr(buckets, "ROWS", 7)


@pytest.mark.slow
@pytest.mark.usefixtures("cut_small")
def test_the_manifest_does_not_depend_on_the_number_of_processes(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    exam(project, [*OWN, *THEIRS, QUOTED, *EXAM], {"exam": "all"})
    spec = yaml.safe_load((project.root / "specs/data/mine.yaml").read_text())
    write_spec(project.root, "mine", {**spec, "without": ["theirs"], "duplicates": "drop"})
    made = [run(project, processes) for processes in (1, 2, 3)]
    assert made[0] == made[1] == made[2]


@pytest.mark.slow
@pytest.mark.usefixtures("cut_small")
def test_after_a_kill_at_any_change_of_the_disk_it_ends_with_the_same_bytes(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    exam(project, [*OWN[:12], *THEIRS[:4], QUOTED], {"exam": "all"})
    spec = yaml.safe_load((project.root / "specs/data/mine.yaml").read_text())
    write_spec(project.root, "mine", {**spec, "without": ["theirs"]})
    counter = Failing(at=0, code=None, lasting=False)
    with using(counter):
        wanted = run(project)
    for at in range(1, counter.count + 1, 3):
        files.remove_tree(project.data / "mine")
        with pytest.raises(PowerCutError), using(Failing(at, None, lasting=True)):
            run(project)
        assert run(project) == wanted, at


def test_a_file_of_the_other_corpus_that_has_changed_since_a_kill_is_named(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS[:5]))
    declare(project, "mine", rows(project.root, "mine", OWN + THEIRS), without=["theirs"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.data.merge.Merge.contents", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(project)
    rows(project.root, "theirs", THEIRS[:9])
    with pytest.raises(UserError, match=r"^without theirs: theirs\.jsonl: has changed since the preparation"):
        run(project)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_file_of_the_other_corpus_that_is_written_to_meanwhile_is_refused(
    project: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    declare(project, "mine", rows(project.root, "mine", OWN), without=["theirs"])
    whole = others.write

    def meanwhile(*given: Any) -> Any:
        with (project.root / "theirs.jsonl").open("a") as file:
            file.write(json.dumps({"text": "one more"}) + "\n")
        return whole(*given)

    monkeypatch.setattr(others, "write", meanwhile)
    with pytest.raises(UserError, match=r"^theirs\.jsonl: changed while it was read"):
        run(project)


def test_where_others_have_everything_it_is_said_so(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    declare(project, "mine", rows(project.root, "mine", THEIRS[:7]), without=["theirs"])
    with pytest.raises(UserError, match=r"0 different documents.*`without` and `decontaminate` leave out do not count"):
        run(project)


def sets(against: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"decontaminate": {"against": against, "words": 13, "found": "remove", **more}}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("unknown", {"without": ["thiers"]}, r"without\.0: found the unknown corpus 'thiers'"),
    ("itself", {"without": ["mine"]}, r"without\.0: found 'mine', which gives way to 'mine'"),
    ("in a circle", {"without": ["back"]}, r"which gives way to 'mine' \(back -> mine\)"),
    ("a shipped one", {"without": ["made"]}, r"found 'made' of builder math; allowed: a corpus of builder file"),
    ("twice", {"without": ["theirs", "theirs"]}, r"without"),
    ("no set", sets({}), r"decontaminate"),
    ("an unknown set", sets({"gsm": "all"}), r"unknown corpus 'gsm'"),
    ("all of itself", sets({"mine": "all"}), r"all of the corpus itself; allowed: heldout"),
    ("another part", sets({"theirs": "test"}), r"decontaminate\.against\.theirs"),
    ("no length", {"decontaminate": {"against": {"theirs": "all"}, "found": "remove"}}, r"decontaminate\.words"),
    ("one word", sets({"theirs": "all"}, words=1), r"decontaminate\.words: found '1'"),
    ("nothing to do", {"decontaminate": {"against": {"theirs": "all"}, "words": 13}}, r"decontaminate\.found"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "says"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_a_spec_that_cannot_be_meant_is_refused_before_anything_is_read(
    project: Small, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], says: str
) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    declare(project, "back", "theirs.jsonl", without=["mine"])
    made = {"corpus": "made", "kind": "text", "unit": "tokens", "builder": "math", "parameters": {"count": 9}}
    write_spec(project.root, "made", made)
    declare(project, "mine", rows(project.root, "mine", OWN), **more)
    monkeypatch.setattr(others, "write", None)
    with pytest.raises((SpecError, SpecErrors), match=says):
        run(project)


def test_other_builders_have_none_of_it(project: Small) -> None:
    made = {"corpus": "made", "kind": "text", "unit": "tokens", "builder": "math", "parameters": {"count": 9}}
    write_spec(project.root, "made", {**made, "without": ["made"]})
    with pytest.raises(SpecError, match=r"without: found an entry; allowed: none; builder math has no without"):
        prepare.spec.load(project.root, "made", declared=False)
    assert Files(project.root).names("data")


@given(st.sets(st.integers(0, 40)), st.lists(st.integers(0, 40)))
def test_a_set_on_the_disk_is_a_set(
    tmp_path_factory: pytest.TempPathFactory, known: set[int], asked: list[int]
) -> None:
    """Also where first halves are equal."""
    folder = tmp_path_factory.mktemp("set")
    table = np.array([(number // 5 << 57, number % 5) for number in range(41)], dtype=hashes.PAIR)
    blocks = [table[sorted(known)], table[sorted(known)[:3]]]
    assert hashes.write(folder / "x", blocks)[0].size == 8 * len(known)
    found = hashes.Hashes(folder / "x").have(table[asked])
    assert found.tolist() == [number in known for number in asked]


@given(
    st.lists(st.sampled_from("abcde"), max_size=30), st.lists(st.sampled_from("abcde"), max_size=30), st.integers(2, 6)
)
def test_n_grams_are_shared_exactly_where_runs_of_words_are(
    tmp_path_factory: pytest.TempPathFactory, one: list[str], other: list[str], words: int
) -> None:
    def runs(said: list[str]) -> set[tuple[str, ...]]:
        return {tuple(said[at : at + words]) for at in range(len(said) - words + 1)}

    ngrams = NGrams(words)
    first, second = (plain("x", " ".join(said), False) for said in (one, other))
    folder = tmp_path_factory.mktemp("set")
    assert hashes.write(folder / "x", [ngrams.of(first)])[0].size == 8 * len(runs(one))
    assert ngrams.among(second, hashes.Hashes(folder / "x")) == bool(runs(one) & runs(other))


def test_characters_without_spaces_between_words_are_words() -> None:
    assert len(NGrams(5).of(plain("x", "\u6211\u4eec\u4eca\u5929\u53bb\u5b66\u6821", False))) == 3
    assert len(NGrams(5).of(plain("x", "nospaceshere", False))) == 0

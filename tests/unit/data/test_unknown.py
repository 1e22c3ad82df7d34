"""What a tokenizer has no token for: counted, said, and refused where it is a clear share of a corpus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from stages.commands import left_out
from stages.data.corpus.corpus_manifest import DataManifest
from stages.data.preparing import measured, prepare
from stages.data.spec import CorpusSpec
from stages.data.tokens import tokenizer_files, tokenizer_json, unknown, unknown_token
from stages.data.tokens.encode import Encoded
from stages.data.tokens.tokenizer_declared import declared
from stages.errors import UserError
from tests.unit.data import adopted_tokens, published
from tests.unit.data.small import write_spec

KNOWN = "the cat sat on the mat"
LINE = {"kind": "text", "unit": "tokens", "builder": "file", "path": "a.jsonl", "tokenizer": "mine"}


def of_words() -> Tokenizer:
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.train_from_iterator([KNOWN], trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False))
    return made


def bytes_of(left_out: str = "", **model: Any) -> Tokenizer:
    """Byte-level BPE that has never seen some bytes, as they are trained without `initial_alphabet`."""
    alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(left_out))
    extra = [model["unk_token"]] if "unk_token" in model else []
    made = Tokenizer(models.BPE({word: number for number, word in enumerate([*alphabet, *extra])}, [], **model))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return made


def put(root: Path, made: Tokenizer, **roles: str) -> None:
    """A project's tokenizer `mine`, declared."""
    published.write(root)
    made.add_special_tokens([AddedToken(word, special=True) for word in published.SPECIAL])
    made.add_tokens([AddedToken(word, special=False) for word in ("<think>", "</think>")])
    (root / "tokenizers/mine/tokenizer.json").write_text(made.to_str())
    spec = {**published.write(root, digest="0" * 64, vocab=2), "roles": {**published.ROLES, **roles}}
    (root / "tokenizers/mine/tokenizer.json").write_text(made.to_str())
    published.save(root, spec)
    found = declared(root, tokenizer_files.load(root, "mine"), check=False)
    published.save(root, {**spec, "digest": found.digest, "vocab": found.open().vocab})


def run(root: Path, texts: list[str], **changes: Any) -> DataManifest:
    (root / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    write_spec(root, "mine", {"corpus": "mine", **LINE, **changes})
    return prepare.prepare(root, "mine", root / "results/mini/data/mine", accept=True)


def test_unknown_tokens_are_counted_with_the_first_place_and_said_where_one_reviews(tmp_path: Path) -> None:
    put(tmp_path, of_words())
    texts = [" ".join([KNOWN] * number) for number in range(1, 40)]
    texts = [*texts, f"{KNOWN} dog", *texts, f"cow {KNOWN} cow"]
    made = run(tmp_path, texts)
    found = made.unknown
    assert found is not None
    assert (found.token, found.tokens, found.documents, found.first) == ("[UNK]", 3, 2, "a.jsonl:40")
    assert f"({3}, in 2 documents, first in a.jsonl:40) are '[UNK]'" in "\n".join(left_out.lines(made))
    assert measured.declaration(made).startswith("# 0.03")
    assert any("[UNK]" in line for line in left_out.of_prepared(["data/mine"], tmp_path / "results/mini/data"))


@pytest.mark.parametrize(
    ("tokens", "documents", "line"),
    [([5, 5, 0, 5], 1, 8), ([5, 0, 5, 5], 1, 7), ([0, 0, 0, 5], 2, 7), ([5, 5, 5, 5], 0, 0)],
)
def test_an_unknown_token_is_of_the_document_that_it_stands_in(tokens: list[int], documents: int, line: int) -> None:
    nothing = np.zeros(0, dtype=np.uint8)
    encoded = Encoded(np.array(tokens), np.array([2, 2]), nothing, nothing, np.zeros((0, 5), dtype=np.int64))
    assert unknown.count(encoded, 0, [7, 8]) == unknown.Found(tokens.count(0), documents, line)


def test_what_the_pieces_of_a_corpus_have_adds_up_and_the_first_line_is_that_of_the_first() -> None:
    nothing, first, later = unknown.Found(), unknown.Found(3, 1, 7), unknown.Found(2, 2, 9)
    assert nothing + first + later == unknown.Found(5, 3, 7)


@pytest.mark.parametrize("allowed", [None, unknown.MOST])
def test_as_much_as_is_allowed_is_not_refused(allowed: Fraction | None) -> None:
    partly: Any = CorpusSpec  # the other fields are not read
    corpus = partly.model_construct(corpus="mine", unknown=allowed)
    unknown.refuse(corpus, unknown.Unknown(token="[UNK]", tokens=2, of=1000, documents=1))
    with pytest.raises(unknown.UnknownTokensError, match=r"0\.3% of the tokens"):
        unknown.refuse(corpus, unknown.Unknown(token="[UNK]", tokens=3, of=1000, documents=1))


def test_a_clear_share_is_refused_until_the_spec_says_it_and_nothing_is_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, of_words())
    texts = [KNOWN, "the dog"]
    found = r"8\.3% of the tokens \(1, in 1 documents, first in a\.jsonl:2\) are '\[UNK\]'"
    message = rf"mine\.yaml: unknown: found {found}; allowed: 0\.2% by default.*`unknown: 9%`"
    with pytest.raises(UserError, match=message):
        run(tmp_path, texts)
    assert not (tmp_path / "results/mini/data/mine").exists()
    monkeypatch.setattr("stages.data.preparing.worker.encode_batch", None)
    assert run(tmp_path, texts, unknown="9%").documents == 1
    assert not list((tmp_path / "results/mini/data").glob(".*"))
    monkeypatch.undo()
    with pytest.raises(UserError, match="allowed: 8%,"):
        run(tmp_path, texts, unknown="8%")


def test_what_an_earlier_version_encoded_without_counting_is_encoded_again(tmp_path: Path) -> None:
    put(tmp_path, of_words())
    with pytest.raises(UserError, match="1, in 1 documents"):
        run(tmp_path, [KNOWN, "the dog"])
    (meta,) = (tmp_path / "results/mini/data").glob(".mine.runs/*/run.json")
    meta.write_text(json.dumps({key: value for key, value in json.loads(meta.read_text()).items() if key != "unknown"}))
    with pytest.raises(UserError, match="1, in 1 documents"):
        run(tmp_path, [KNOWN, "the dog"])


def test_what_it_says_moves_no_key(tmp_path: Path) -> None:
    put(tmp_path, of_words())
    assert (
        run(tmp_path, [KNOWN, "the dog"], unknown="9%").digest
        == run(tmp_path, [KNOWN, "the dog"], unknown="50%").digest
    )


def test_captions_and_conversations_and_adopted_tokens_are_counted_too(tmp_path: Path) -> None:
    put(tmp_path, of_words())
    for number in range(3):
        Image.fromarray(np.full((8, 8), 80 * number, np.uint8)).save(tmp_path / f"{number}.png")
    rows = [{"image": f"{number}.png", "text": f"the dog {number}"} for number in range(3)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = {"cell": 8, "patch": 4, "channels": 3, "side": 32}
    spec = {"corpus": "mine", "kind": "pairs", "unit": "items", "builder": "pictures", "path": "p.jsonl",
            "tokenizer": "mine", "parameters": sizes}  # fmt: skip
    write_spec(tmp_path, "mine", spec)
    out = tmp_path / "results/mini/data/mine"
    with pytest.raises(UserError, match=r"6, in 3 documents, first in p\.jsonl:1"):
        prepare.prepare(tmp_path, "mine", out, accept=True)
    turns = [{"role": "user", "content": "the dog"}, {"role": "assistant", "content": "sat"}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"messages": turns, "id": at}) + "\n" for at in range(3)))
    write_spec(tmp_path, "mine", {"corpus": "mine", **LINE, "kind": "sft", "path": "c.jsonl"})
    with pytest.raises(UserError, match=r"in 3 documents, first in c\.jsonl:1"):
        prepare.prepare(tmp_path, "mine", out, accept=True)
    token = of_words().token_to_id("[UNK]")
    adopted_tokens.write(tmp_path / "lake/a", [[1, token, 2], [1, 2], [token, token]], dtype="<u2")
    adopted_tokens.declare(tmp_path)
    with pytest.raises(UserError, match=r"43% of the tokens \(3, in 2 documents\) are '\[UNK\]'"):
        prepare.prepare(tmp_path, "mine", out, accept=True)
    adopted_tokens.declare(tmp_path, unknown="50%")
    assert "43%" in "\n".join(left_out.lines(prepare.prepare(tmp_path, "mine", out, accept=True)))


SPACE = "\u0120"  # ByteLevel's
BY_BYTES: dict[str, Any] = {"unk_token": "<unk>", "byte_fallback": True}
FALLBACK = {f"<0x{byte:02X}>": byte for byte in range(256)}
TEXTS = "no token for some texts, and no unknown token"


def numbered(words: Iterable[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate(words)}


LOST: dict[str, tuple[Callable[[], Tokenizer], str]] = {
    "bytes that have no token": (
        lambda: bytes_of(left_out=SPACE),
        "no token for the byte that is written '\u0120', and no unknown",
    ),
    "an unknown token that is in no vocabulary": (lambda: Tokenizer(models.WordPiece({"a": 0})), TEXTS),
    "Unigram without one": (lambda: Tokenizer(models.Unigram([("a", -1.0)], None, False)), TEXTS),
    "characters without bytes": (lambda: Tokenizer(models.BPE({"a": 0}, [])), TEXTS),
    "a fallback to bytes that lacks some": (
        lambda: Tokenizer(models.BPE(numbered(word for word in FALLBACK if word != "<0x0A>"), [], **BY_BYTES)),
        "no token for the byte that is written '<0x0A>', and no unknown",
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_a_tokenizer_that_would_lose_text_without_a_trace_is_refused(tmp_path: Path, name: str) -> None:
    make, message = LOST[name]
    with pytest.raises(UserError, match=f"model: {message}"):
        put(tmp_path, make())


WHOLE: dict[str, tuple[Callable[[], Tokenizer], bool]] = {
    "all bytes": (bytes_of, False),
    "all bytes that UTF-8 has": (lambda: bytes_of(left_out="\u00c0\u00c1\u00f5\u00ff"), False),
    "all bytes beside an unknown token": (lambda: bytes_of(unk_token="<unk>"), False),
    "a missing byte beside an unknown token": (lambda: bytes_of(SPACE, unk_token="<unk>"), True),
    "ends of words, which have tokens of their own": (
        lambda: bytes_of(unk_token="<unk>", end_of_word_suffix="</w>"), True,
    ),
    "a fallback to bytes": (lambda: Tokenizer(models.BPE({"<unk>": 256, **FALLBACK}, [], **BY_BYTES)), False),
    "Unigram": (lambda: Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0, False)), True),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_texts_become_the_unknown_token_where_not_every_byte_has_one(name: str) -> None:
    make, becomes = WHOLE[name]
    made = make()
    found = unknown_token.of(made, tokenizer_json.read(made.to_str(), Path("tokenizer.json")))
    assert (found is not None) == becomes
    if becomes:
        assert found in made.encode("\u00fc x\U0001f600", add_special_tokens=False).ids


def test_null_is_no_fallback_to_bytes() -> None:
    """`tokenizers` reads it so; that is a field of another kind for nobody."""
    written = json.loads(bytes_of(unk_token="<unk>").to_str())
    written["model"]["byte_fallback"] = None
    text = json.dumps(written)
    assert unknown_token.of(Tokenizer.from_str(text), tokenizer_json.read(text, Path("tokenizer.json"))) is None


@pytest.mark.parametrize("role", ["eos", "pad"])
def test_the_unknown_token_has_no_role(tmp_path: Path, role: str) -> None:
    with pytest.raises(UserError, match=rf"roles\.{role}: '\[UNK\]', which a text turns into that has something"):
        put(tmp_path, of_words(), **{role: "[UNK]"})

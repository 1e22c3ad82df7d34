"""A tokenizer as its spec in specs/tokenizers declares it, with all that has to be true of its files and roles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from stages.data.tokens import special_tokens, tokenizer_config, tokenizer_files, unknown_token
from stages.data.tokens.roles import NAMES, Roles
from stages.data.tokens.tokenizer import Source, Tokenizer
from stages.data.tokens.tokenizer_files import FOLDER, TokenizerFiles
from stages.errors import UserError
from stages.spec.schema.tokenizers import RawTokenizerFiles


def declared(root: Path, spec: RawTokenizerFiles, check: bool = True) -> Source:
    """The tokenizer of a spec, from its folder in the project.

    With `check`, UserError where digest or vocabulary are not what the spec declares; always for roles whose tokens the
    tokenizer does not have or texts turn into, and for words of the template that are not the roles' tokens.
    """
    at = FOLDER / f"{spec.tokenizer}.yaml"
    files, tokens = tokenizer_files.read(root, spec), root / spec.path / tokenizer_files.TOKENS
    made = Tokenizer.published(files, Roles(**dict.fromkeys(NAMES, None)), tokens)
    tokenizer_config.refuse_other_ids(made, tokenizer_files.beside(root, spec), root / spec.path)
    _refuse_shared_ids(made, tokens)
    special_tokens.refuse_dropout(made.inner, tokens)
    unknown_token.refuse_lost(made.inner, made.file, tokens)
    _refuse_not_added(made, files, tokenizer_files.role_words(spec), at)
    roles = _roles(made, tokenizer_files.role_words(spec), at)
    made = made.using(files, roles)
    _refuse_out_of_text(made, roles, at)
    _refuse_words(made, files, roles, root / spec.path / tokenizer_files.CONFIG)
    if spec.extends is not None:
        _refuse_circle(root, spec, at)
        _refuse_moved(made, declared(root, tokenizer_files.load(root, spec.extends)).open(), spec, at)
    if check:
        found = {"digest": files.digest(roles), "vocab": made.vocab}
        wrong = [
            f"{key}: declared {getattr(spec, key)}, found {is_}"
            for key, is_ in found.items()
            if getattr(spec, key) != is_
        ]
        if wrong:
            raise UserError(
                f"{at}: {'; '.join(wrong)}, in {spec.path}. Put back the files that were declared, or run "
                f"`stages tokenizer {spec.tokenizer} --accept` and put its lines into the spec."
            )
    return Source(tokens, files.digest(roles), files, roles, made)


def _refuse_circle(root: Path, spec: RawTokenizerFiles, at: Path) -> None:
    """Raise UserError where a tokenizer extends itself, by way of others."""
    seen, base = [spec.tokenizer], spec.extends
    while base is not None:
        if base in seen:
            raise UserError(f"{at}: extends: {' extends '.join([*seen, base])}; allowed: one that has its own tokens.")
        seen.append(base)
        base = tokenizer_files.load(root, base).extends


def _refuse_shared_ids(made: Tokenizer, at: Path) -> None:
    """Raise UserError where two words have one id: a model could not tell them apart, and which of the two is written
    for the id changes from one process to the next.
    """
    ids = made.inner.get_vocab(with_added_tokens=True)
    times = Counter(ids.values())
    shared = sorted(word for word, number in ids.items() if times[number] > 1)
    if shared:
        same = [word for word in shared if ids[word] == ids[shared[0]]]
        raise UserError(
            f"{at}: model.vocab: {' and '.join(map(repr, same))} have the id {ids[same[0]]}; allowed: an id of its own "
            "for each word. Take the tokenizer.json that was published."
        )


def _refuse_out_of_text(made: Tokenizer, roles: Roles, at: Path) -> None:
    """Raise UserError for a role's token that a text turns into: an ordinary word of the vocabulary."""
    for name, number in roles.by_name().items():
        word = None if number is None or name in special_tokens.OF_TEXT else made.word(number)
        lost = number is not None and number == made.unknown
        if word is not None and (lost or number in made.encode(word)):
            which = "has something that the tokenizer has no token for" if lost else "says so"
            raise UserError(
                f"{at}: roles.{name}: {word!r}, which a text turns into that {which}; allowed: a special token of the "
                "tokenizer, or none."
            )


def _refuse_not_added(made: Tokenizer, files: TokenizerFiles, words: Mapping[str, str | None], at: Path) -> None:
    """Raise UserError for a role's token that is in the vocabulary alone: transformers would not find it in a text."""
    added = {token.content for token in made.inner.get_added_tokens_decoder().values()} | set(files.words.values())
    for name, word in words.items():
        number = None if word is None or word in added else made.inner.token_to_id(word)
        if word is None or number is None or name in special_tokens.OF_TEXT or number in made.encode(word):
            continue  # found, not there at all, or an ordinary word: reported elsewhere
        raise UserError(
            f"{at}: roles.{name}: {word!r}, which is in the vocabulary and no added token, so transformers would cut a "
            "template's as text; allowed: one of `added_tokens` of tokenizer.json, or none."
        )


def _refuse_words(made: Tokenizer, files: TokenizerFiles, roles: Roles, at: Path) -> None:
    """Raise UserError where the template would write another bos than the spec names."""
    word = files.words.get("bos_token")
    if word is not None and roles.bos not in (None, made.inner.token_to_id(word)):
        assert roles.bos is not None
        raise UserError(
            f"{at}: bos_token: {word!r}, where the tokenizer's spec names {made.word(roles.bos)!r}; correct one of "
            "the two."
        )


def _refuse_moved(larger: Tokenizer, base: Tokenizer, spec: RawTokenizerFiles, at: Path) -> None:
    """Raise UserError unless every token of the base has its id here too: rows of a table are handed over by id."""
    mine = larger.inner.get_vocab(with_added_tokens=True)
    theirs = base.inner.get_vocab(with_added_tokens=True)
    moved = sorted(word for word, number in theirs.items() if mine.get(word) != number)
    if moved:
        found = mine.get(moved[0])
        raise UserError(
            f"{at}: extends: {spec.extends}, whose token {moved[0]!r} has id {theirs[moved[0]]}, found "
            f"{'no such token' if found is None else found} here ({len(moved)} tokens differ); allowed: the same id "
            "for every token of it, and new ones behind."
        )


def _roles(tokenizer: Tokenizer, words: Mapping[str, str | None], at: Path) -> Roles:
    """Ids of the roles' tokens. Raises UserError naming each that is no token, and two roles that cannot share one."""
    found = {name: None if word is None else tokenizer.inner.token_to_id(word) for name, word in words.items()}
    unknown = [f"roles.{name}: {words[name]!r}" for name, number in found.items() if number is None and words[name]]
    if unknown:
        known = ", ".join(list(tokenizer.special_words)[:12]) or "none"
        raise UserError(f"{at}: {'; '.join(unknown)}: no token of the tokenizer; its special tokens: {known}")
    apart = ("bos", "image", "turn_begin", "think", "end_think")  # eos, turn_end and pad may be one token
    for name in apart:
        other = next((one for one in NAMES if one != name and found[one] == found[name] is not None), None)
        if other is not None:
            raise UserError(
                f"{at}: roles.{name}: {words[name]!r}, which is {other} too; allowed: a token of its own, or none. "
                "Where one token stands between documents, it is their eos, and bos is none."
            )
    return Roles(**found)

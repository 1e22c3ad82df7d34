"""A published tokenizer's files, as a spec of specs/tokenizers declares them: read, compared with the digest, opened.

Of the folder, tokenizer.json is read, and the chat template with the special tokens that it may name:
chat_template.jinja, or `chat_template` in tokenizer_config.json. Where several files have one (chat_template.json is of
processors of pictures), they have to be the same, since programs differ in which they take. SentencePiece models come
in through the tokenizer.json that transformers writes of them. Other files that transformers reads are compared with
tokenizer.json (`tokenizer_config`). Nothing else of the folder is opened, and no code of it is run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stages.data.tokens.roles import NAMES, Roles
from stages.errors import UserError
from stages.spec import wording
from stages.spec.files import Files, check_name
from stages.spec.schema.tokenizers import RawTokenizerFiles
from stages.spec.schema.tokenizers import tokenizer as read_spec
from stages.spec.validate import near
from stages.store import json_file, lfs
from stages.store.contained import contained
from stages.store.digest import digest_bytes

FOLDER = Path("specs") / "tokenizers"
TOKENS, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
OF_PROCESSOR = "chat_template.json"
NAMED, ADDED = "special_tokens_map.json", "added_tokens.json"  # read to be compared with tokenizer.json
OTHERS = ("*.model", "*.tiktoken", "tekken.json", "vocab.json", "vocab.txt", "merges.txt")  # tokenizers without TOKENS
WORDS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_CONFIG = TypeAdapter(dict[str, Any])
KEY = "chat_template"
DEFAULT = "default"  # of several templates, the one that transformers takes where no other is named


@dataclass(frozen=True)
class TokenizerFiles:
    """What was read: tokenizer.json as text, the chat template if there is one, and the tokens that it may name."""

    tokens: str
    template: str | None
    words: dict[str, str]

    def digest(self, roles: Roles) -> str:
        """What specs declare: everything here, and the ids of the roles."""
        parts = (self.tokens, self.template, self.words, roles.by_name())
        return digest_bytes(json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False).encode())


def load(root: Path, name: str, declared: bool = True, absent: type[UserError] = UserError) -> RawTokenizerFiles:
    """specs/tokenizers/<name>.yaml. Raises `absent` where there is none, InvalidSpecs for mistakes in it."""
    files = Files(root)
    if why := _absent(files, name):
        raise absent(why)
    document = files.entry("tokenizers", name)
    check_name(document, "tokenizer", name)
    return read_spec(document, declared)


def _absent(files: Files, name: str) -> str:
    """What is wrong with a name that no tokenizer of the project has; empty for one that there is."""
    names = files.names("tokenizers")
    if name in names:
        return ""
    hint = near(Path(name).stem, names)  # of the path of its spec, or of its folder, too
    return (
        f"no tokenizer {name!r} in {FOLDER}; there are: {', '.join(names) or 'none'}. "
        f"{hint or f'Write {Path(name).stem}.yaml there: tokenizer, source, revision, licence, path and roles.'}"
    )


def read(root: Path, spec: RawTokenizerFiles) -> TokenizerFiles:
    """The files of a spec's folder. Raises UserError for one that is missing, outside the project, or no text."""
    folder = root / spec.path
    if folder.is_file():
        raise UserError(
            f"{folder}: found a file; allowed: the folder that it is in. {spec.tokenizer}'s spec says "
            f"`path: {spec.path}`."
        )
    tokens = _text(root, folder / TOKENS, spec)
    if tokens is None:
        raise UserError(
            f"{folder / TOKENS}: no such file; {spec.tokenizer}'s spec says `path: {spec.path}`.{_made_of(root, spec)}"
        )
    config = _config(_text(root, folder / CONFIG, spec), folder / CONFIG)
    template = _template(root, spec, config)
    words = {key: word for key in WORDS if (word := word_of(config.get(key))) is not None}
    return TokenizerFiles(tokens, template, words)


def _template(root: Path, spec: RawTokenizerFiles, config: dict[str, Any]) -> str | None:
    """The chat template of a folder. Raises UserError where another file of it has another one."""
    folder = root / spec.path
    alone = _text(root, folder / TEMPLATE, spec)
    of_processor = _config(_text(root, folder / OF_PROCESSOR, spec), folder / OF_PROCESSOR)
    found = {TEMPLATE: alone}
    for name, content in ((CONFIG, config), (OF_PROCESSOR, of_processor)):
        chosen = alone is not None and isinstance(content.get(KEY), list)  # the one that is meant is in its own file
        found[name] = None if chosen else _of_config(content.get(KEY), folder / name)
    there = [(name, text) for name, text in found.items() if text is not None]
    for name, text in there[1:]:
        if text.removesuffix("\n") != there[0][1].removesuffix("\n"):  # Jinja leaves a last line end out
            raise UserError(
                f"{folder / name}: {KEY}: another one than in {there[0][0]}; which of the two is taken depends on the "
                f"program and its version. Keep in {TEMPLATE} the one that the model is trained and served with, and "
                f"remove {KEY} from {name}."
            )
    return found[TEMPLATE] if alone is not None else found[CONFIG]


def _made_of(root: Path, spec: RawTokenizerFiles) -> str:
    """What to do with a folder that has a tokenizer in another form."""
    folder = root / spec.path
    found = sorted(path.name for pattern in OTHERS for path in folder.glob(pattern)) if folder.is_dir() else []
    if not found:
        return ""
    known = any(
        _config(_text(root, folder / name, spec), folder / name).get(key)
        for name, key in ((CONFIG, "tokenizer_class"), ("config.json", "model_type"))
    )
    named = "AutoTokenizer" if known else "CLASS"
    which = (
        ""
        if known
        else "; CLASS is the one that it was made for, as GPT2TokenizerFast of GPT-2's vocab.json and merges.txt: no "
        "config.json beside it says which"
    )
    return (
        f' It has {", ".join(found)}: transformers makes a tokenizer.json of it, `python -c "from transformers import '
        f"{named}; {named}.from_pretrained('{folder}').save_pretrained('{folder}')\"`{which}."
    )


def beside(root: Path, spec: RawTokenizerFiles) -> dict[str, dict[str, Any]]:
    """What the files next to tokenizer.json say, by name; one that is not there says nothing. Raises as `read`."""
    folder = root / spec.path
    return {name: _config(_text(root, folder / name, spec), folder / name) for name in (CONFIG, NAMED, ADDED)}


def _text(root: Path, path: Path, spec: RawTokenizerFiles) -> str | None:
    """A file's text, None where there is none. Links are followed, and may not lead out of the project."""
    real = contained(path, [root], str(path), f"Copy the file into {spec.path}.")
    if real is None:
        return None
    try:
        lfs.refuse(real, str(path), real.stat().st_size)
        return real.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 ({error})") from None


def _config(text: str | None, path: Path) -> dict[str, Any]:
    return {} if text is None else json_file.parse_as(text.encode(), path, _CONFIG)


def _of_config(found: Any, path: Path) -> str | None:
    """A template, or of several with names the default one."""
    if isinstance(found, list):
        named = [one.get("template") for one in found if isinstance(one, dict) and one.get("name") == DEFAULT]
        if len(named) != 1 or not isinstance(named[0], str):
            raise UserError(
                f"{path}: chat_template: found {len(found)} templates, of which {len(named) or 'none'} "
                f"{'are' if len(named) > 1 else 'is'} called {DEFAULT!r}; put the one that is meant into {TEMPLATE}"
            )
        found = named[0]
    if found is None or isinstance(found, str):
        return found
    raise UserError(f"{path}: chat_template: found {wording.of_kind(found)} instead of a text")


def word_of(found: Any) -> str | None:
    """The text of a special token, which these files have as a string or as an object; None for anything else."""
    content = found.get("content") if isinstance(found, dict) else found
    return content if isinstance(content, str) else None


def role_words(spec: RawTokenizerFiles) -> dict[str, str | None]:
    """Role -> the token's text."""
    return {name: getattr(spec.roles, name) for name in NAMES}

"""Tokenizer files of an export, as AutoTokenizer reads them: tokens, configuration, chat template.

Ids are those that the model was trained on. A published tokenizer's tokenizer.json goes out byte for byte. The local
one's gets a post-processor that puts BOS in front, as every training document had it; `add_special_tokens=False`
leaves it out. One thing differs from training by design of transformers: there, a special token's text inside a prompt
is that special token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from tokenizers import Tokenizer as HfTokenizer
from tokenizers import processors

from stages.data import spec as data_spec
from stages.data.corpus import corpus_manifest, prepared
from stages.data.tokens import tokenizer
from stages.data.tokens.roles import Roles
from stages.data.tokens.tokenizer_declared import declared as declared_tokenizer
from stages.data.tokens.tokenizer_files import CONFIG, TEMPLATE, TOKENS, WORDS
from stages.errors import UserError
from stages.export.result import Result
from stages.store import json_file

ROLE_WORDS = {"bos_token": "bos", "eos_token": "eos", "pad_token": "pad"}
# What `stages.data.document.chat` writes of a conversation, with the BOS of its document and without the EOS behind:
# a conversation may go on. Content that begins with two blanks or line breaks is cut apart otherwise than in training,
# where the line of the role is cut alone.
CHATML = """\
{{- bos_token }}
{%- for message in messages %}
    {{- ('\\n' if not loop.first else '') + '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {{- '<image>' if part['type'] == 'image' else part['text'] }}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '\\n<|im_start|>assistant\\n' }}
{%- endif %}
"""


@dataclass(frozen=True)
class TokenizerOut:
    """A tokenizer as it leaves: tokenizer.json as text, the chat template, named special tokens, ids by role."""

    tokens: str
    template: str | None
    words: Mapping[str, str]
    roles: Roles

    def files(self, longest: int) -> dict[str, bytes]:
        """The files by name; `longest` is the model's longest context, in tokens."""
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": longest,
            "clean_up_tokenization_spaces": False,
            "model_input_names": [
                "input_ids",
                "attention_mask",
            ],  # transformers 4 adds token_type_ids, and refuses them
            **self._prefix,
            **self.words,
        }
        made = {TOKENS: self.tokens.encode(), CONFIG: json_file.encode(config)}
        return made if self.template is None else made | {TEMPLATE: self.template.encode()}

    @property
    def _prefix(self) -> dict[str, bool]:
        """Whether a blank is put in front of a text: transformers 4 goes by this, whatever tokenizer.json says."""
        return {"add_prefix_space": True} if tokenizer.prefixed(self.inner) else {}

    @cached_property
    def inner(self) -> HfTokenizer:
        """The tokenizer that these files are read as, without what cuts texts off or fills them up."""
        inner = HfTokenizer.from_str(self.tokens)
        inner.no_truncation()
        inner.no_padding()
        return inner

    @property
    def stops(self) -> tuple[int, ...]:
        """Ids that end a text: of a turn, of a document."""
        found = (self.roles.turn_end, self.roles.eos)
        return tuple(dict.fromkeys(one for one in found if one is not None))

    @property
    def special(self) -> dict[str, int | list[int] | None]:
        """Special ids as generation_config.json has them."""
        pad = self.roles.pad if self.roles.pad is not None else next(iter(self.stops), None)
        return {"bos_token_id": self.roles.bos, "eos_token_id": list(self.stops) or None, "pad_token_id": pad}


def of(result: Result) -> TokenizerOut:
    """The tokenizer that a stage was trained with. Raises UserError where its files are not what the specs declare."""
    digest, data = result.stage.tokenizer, result.data
    spec = data.declared(digest)
    if spec is not None:
        source = declared_tokenizer(result.root, spec)
        assert source.files is not None
        assert source.roles is not None
        return _made(source.files.tokens, source.files.template, source.files.words, source.roles)
    if digest != data.local:
        raise UserError(
            f"{result.ref}: was trained with the tokenizer {digest}, which is not declared; allowed: the local one "
            f"({data.local[:12]}), or one of specs/tokenizers. Declare it there, with `digest: {digest}`."
        )
    folder = result.layout.corpus(data_spec.TOKENIZER)
    prepared.check(folder)
    if (found := corpus_manifest.read_manifest(folder).digest) != digest:
        raise UserError(f"{folder}: has digest {found}, wanted {digest}. `stages data tokenizer` prepares it again.")
    local = tokenizer.Tokenizer(folder / TOKENS)
    return _made(_with_bos(folder / TOKENS, local), CHATML, {}, local.roles)


def _made(tokens: str, template: str | None, words: Mapping[str, str], roles: Roles) -> TokenizerOut:
    """Special tokens by the names that transformers has for them: as published, else by role."""
    inner, by_role = HfTokenizer.from_str(tokens), roles.by_name()
    named = {name: by_role[role] for name, role in ROLE_WORDS.items()}
    added = {name: str(inner.id_to_token(number)) for name, number in named.items() if number is not None}
    return TokenizerOut(tokens, template, {**added, **{name: words[name] for name in WORDS if name in words}}, roles)


def _with_bos(path: object, local: tokenizer.Tokenizer) -> str:
    inner = HfTokenizer.from_file(str(path))
    bos = local.roles.bos
    assert bos is not None
    word = local.word(bos)
    inner.post_processor = processors.TemplateProcessing(
        single=f"{word} $A", pair=f"{word} $A {word} $B:1", special_tokens=[(word, bos)]
    )
    return str(inner.to_str(pretty=True))

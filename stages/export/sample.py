"""Text that a finished stage writes: greedy, or drawn with a stated seed.

Every token is one forward pass over all tokens before it. That takes longer than a cache would and needs nothing that
could differ from training: for a few hundred tokens of a small model, and to see what a model says. Servers load an
export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from stages.data.tokens.chat import ChatTemplate
from stages.errors import UserError
from stages.export.model import Logits
from stages.export.sampling import Sampling
from stages.export.tokenizer import TokenizerOut

HALF = "\ufffd"  # what bytes that are no whole character decode to


def prompt_ids(tokens: TokenizerOut, text: str, chat: bool) -> list[int]:
    """Ids of a prompt as transformers has them: a text with the special tokens in front, or one turn of the user's.

    Raises UserError for a chat where there is no template, and for an empty prompt.
    """
    if not chat:
        ids = list(tokens.inner.encode(text, add_special_tokens=True).ids)
    elif tokens.template is None:
        raise UserError("--chat: the tokenizer has no chat template; allowed: a prompt without --chat.")
    else:
        template = ChatTemplate(tokens.template, tokens.words)
        prompt = template.text([{"role": "user", "content": text}], None, prompt=True)
        ids = list(tokens.inner.encode(prompt, add_special_tokens=False).ids)
    if not ids:
        raise UserError("--prompt: found nothing, and the tokenizer has no BOS to begin with; allowed: some text.")
    return ids


def written(
    logits: Logits, prompt: Sequence[int], stops: Sequence[int], most: int, sampling: Sampling | None
) -> Iterator[int]:
    """Up to `most` tokens behind a prompt, ending before one of `stops`; the likeliest each, unless they are drawn."""
    choose = _greedy if sampling is None else _sampler(sampling)
    row = list(prompt)
    for _ in range(most):
        token = choose(logits(row))
        if token in stops:
            return
        row.append(token)
        yield token


def texts(tokens: TokenizerOut, ids: Iterator[int]) -> Iterator[str]:
    """The text of tokens, as far as its characters are whole; special tokens are left out."""
    found: list[int] = []
    shown = ""
    for token in ids:
        found.append(token)
        text = str(tokens.inner.decode(found, skip_special_tokens=True))
        if not text.endswith(HALF):
            yield text[len(shown) :]
            shown = text
    rest = str(tokens.inner.decode(found, skip_special_tokens=True))
    yield rest[len(shown) :]


def _greedy(logits: Tensor) -> int:
    return int(logits.argmax())


def _sampler(how: Sampling) -> Callable[[Tensor], int]:
    generator = torch.Generator().manual_seed(how.seed)

    def choose(logits: Tensor) -> int:
        below = logits.double() - logits.max()  # at most 0: divided by a small temperature, the others are -inf
        likely, order = (below / how.temperature).softmax(-1).sort(descending=True, stable=True)
        before = likely.cumsum(-1) - likely  # of the tokens that are likelier: the first one always stays
        kept = likely * (before < how.top_p)
        return int(order[torch.multinomial(kept, 1, generator=generator)])

    return choose

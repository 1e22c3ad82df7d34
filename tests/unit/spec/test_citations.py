"""What people write where a figure comes from: none of it is refused but blanks, words that keep a place, and numbers
that arXiv cannot have.
"""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from stages.spec.fields import Citation, Reason, Text

READ = TypeAdapter(Citation).validate_python
BLANKS = ["", " ", "\N{NO-BREAK SPACE}", "\N{ZERO WIDTH SPACE}", "-", "?", "\N{EM DASH}", "..."]


@pytest.mark.parametrize(
    "citation",
    [
        "arXiv:2410.02660v4, table 5",
        "arXiv 1706.03762",
        "arXiv:1412.6980 [cs.LG]",
        "arXiv 0704.0001",
        "arXiv:hep-th/9901001",
        "arXiv preprint arXiv:2410.02660.",
        "https://arxiv.org/abs/2410.02660",
        "https://arxiv.org/pdf/2410.02660v4.pdf",
        "Gao et al., arXiv 2024, section 3",
        "arXiv, 2024.",
        "doi:10.48550/arXiv.2410.02660",
        "arXiv 10.48550/2410.02660",
        "https://github.com/allenai/OLMo/blob/main/configs/OLMo-7B.yaml",
        "internal",
        "our own measurement, run 17",
        "none",
        "none, our own",
        "\u5185\u90e8",
    ],
)
def test_what_people_cite(citation: str) -> None:
    assert READ(citation) == citation


@pytest.mark.parametrize("number", ["2413.02660", "2410.0266", "1412.06980", "241.02660", "241002660", "2410.026600"])
@pytest.mark.parametrize("prefix", ["arXiv ", "https://arxiv.org/abs/"])
def test_numbers_that_arxiv_does_not_have(prefix: str, number: str) -> None:
    with pytest.raises(ValidationError, match=f"arXiv {number}"):
        READ(prefix + number)


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("kind", [Citation, Reason, Text], ids=["citation", "reason", "text"])
def test_what_says_nothing_is_no_text(kind: type, blank: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(blank)


@pytest.mark.parametrize("word", ["todo", "TBD", "fixme", "n/a", "ok"])
@pytest.mark.parametrize("kind", [Citation, Reason], ids=["citation", "reason"])
def test_a_word_that_keeps_the_place_is_none(kind: type, word: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(word)

"""Text builders: docstrings as written, questions answered by their docstring, arithmetic that is right."""

from __future__ import annotations

import re

import pytest

from stages.data.document import Document, held_out
from stages.data.draws import Draws
from stages.data.generated import arithmetic, text
from stages.data.generated.packages import SourceFile
from stages.data.generated.pymodules import clean, docstrings, first_sentences
from stages.data.spec import CorpusSpec
from tests.unit.data.small import spec

MODULE = '''"""About this module."""

@decorated(
    1
)
def area(width: dict[str, int] = {"a": 1},
         height=2) -> int:
    """Multiply the sides of a rectangle. Both are lengths.

    Sides:
        indented
    """
    return 1

class Shape:
    """A closed figure in the plane, e.g. a circle."""

    async def draw(self):
        "Draw the outline of the figure."
'''


def corpus_spec(**parameters: int) -> CorpusSpec:
    return CorpusSpec.model_validate(spec("math", parameters=parameters))


def said(document: Document) -> str:
    return "".join(part.content for part in document.parts if isinstance(part.content, str))


def files(count: int = 60) -> list[SourceFile]:
    return [SourceFile(f"pkg/pkg/sub{n % 3}/m{n}.py", MODULE + f"# {n}\n") for n in range(count)]


def test_docstrings_come_in_order_with_their_signatures() -> None:
    found = list(docstrings(MODULE))
    assert [item.name for item in found] == ["", "area", "Shape", "Shape.draw"]
    assert [item.signature for item in found] == [
        "",
        'def area(width: dict[str, int] = {"a": 1}, height=2) -> int:',
        "class Shape:",
        "async def draw(self):",
    ]
    assert found[1].text == "Multiply the sides of a rectangle. Both are lengths.\n\nSides:\n    indented"


def test_a_file_that_is_not_python_has_no_docstrings() -> None:
    assert list(docstrings("def (:")) == []
    assert list(docstrings('x = "\\d"\n"not a docstring"')) == []  # and its bad escape warns nobody


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [("one", "one"), ("  one\n    two\n      three\n    ", "one\ntwo\n  three"), ("\n\ttab\n", "tab"), ("", "")],
)
def test_docstrings_lose_their_indentation(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@pytest.mark.parametrize(
    ("paragraph", "limit", "kept"),
    [
        ("One thing. Another thing.", 100, "One thing. Another thing."),
        ("One thing. Another thing.", 15, "One thing."),
        ("One thing.\n\nAnother paragraph.", 100, "One thing."),
        ("No end", 100, ""),
        ("Versions 1.2 and e.g. this. Next one", 100, "Versions 1.2 and e.g. this."),
        ("Far too long a sentence.", 5, ""),
    ],
)
def test_answers_are_whole_sentences(paragraph: str, limit: int, kept: str) -> None:
    assert first_sentences(paragraph, limit) == kept


def test_prose_is_the_docstrings_and_code_the_module() -> None:
    sizes = corpus_spec(least_characters=10, most_characters=10_000)
    (prose,) = text.prose(sizes, files(1))
    (code,) = text.code(sizes, files(1))
    assert said(prose).startswith("About this module.\n\narea\nMultiply the sides")
    assert said(code) == f"# {files(1)[0].identity}\n{files(1)[0].text.rstrip()}\n"


def test_modules_out_of_bounds_are_left_out() -> None:
    size = len(files(1)[0].text)
    assert list(text.code(corpus_spec(least_characters=size + 1, most_characters=9999), files(1))) == []
    assert list(text.code(corpus_spec(least_characters=1, most_characters=size - 1), files(1))) == []


def test_a_module_is_held_out_in_every_corpus_or_in_none() -> None:
    many = files(400)
    held = {file.identity for file in many if held_out(file.identity)}
    assert 4 <= len(held) <= 40
    sizes = corpus_spec(least_characters=10, most_characters=10_000, answer_characters=200, questions=1)
    for builder in (text.prose, text.code, text.instruct, text.long_instruct):
        for document in builder(sizes, many):
            assert document.heldout == (document.identity.split("#")[0] in held)
    joined = corpus_spec(least_characters=1500, most_characters=3000)
    for document in text.long(joined, many):
        modules = re.findall(r"^# (pkg/.*\.py)$", said(document), re.MULTILINE)
        assert len(modules) > 1
        assert all((module in held) == document.heldout for module in modules)


def test_long_documents_stay_in_one_folder_and_in_bounds() -> None:
    for document in text.long(corpus_spec(least_characters=2000, most_characters=4000), files()):
        assert 2000 <= len(said(document)) <= 4100
        if not document.heldout:
            assert len(set(re.findall(r"^# pkg/pkg/(sub\d)/", said(document), re.MULTILINE))) == 1


def test_instructions_are_answered_by_the_docstring_and_only_answers_are_taught() -> None:
    made = list(text.instruct(corpus_spec(answer_characters=200), files(1)))
    assert [next(p.content for p in document.parts if p.supervised) for document in made] == [
        "Multiply the sides of a rectangle. Both are lengths.",
        "A closed figure in the plane, e.g. a circle.",
        "Draw the outline of the figure.",
    ]
    assert all("user\n" in said(document) and "assistant\n" in said(document) for document in made)


def test_a_long_question_holds_the_whole_module() -> None:
    sizes = corpus_spec(least_characters=10, most_characters=10_000, answer_characters=200, questions=1)
    (document,) = text.long_instruct(sizes, files(1))
    assert files(1)[0].text.rstrip() in said(document)
    (name,) = re.findall(r"What does ([\w.]+) do\?", said(document))
    answer = next(part.content for part in document.parts if part.supervised)
    assert isinstance(answer, str)
    assert answer in {"area": MODULE, "Shape": MODULE, "Shape.draw": MODULE}[name]


def test_every_step_and_answer_of_a_problem_is_right() -> None:
    for number in range(300):
        question, steps, answer = arithmetic.problem(Draws("test", number))
        equations = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)\.", steps)
        assert len(equations) >= 2
        for a, sign, b, result in equations:
            assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign] == int(result)
        assert equations[-1][3] == answer
        asked = re.fullmatch(r"What is (\d+) ([-+*]) (\d+)\?", question)
        if asked:
            a, sign, b = int(asked[1]), asked[2], int(asked[3])
            assert {"+": a + b, "-": a - b, "*": a * b}[sign] == int(answer)


def test_a_held_out_question_is_never_trained_on() -> None:
    documents = list(arithmetic.reasoning(corpus_spec(count=3000)))
    questions: dict[bool, set[str]] = {True: set(), False: set()}
    for document in documents:
        questions[document.heldout].add(str(document.parts[2].content))
    assert questions[True]
    assert not questions[True] & questions[False]


def test_math_statements_are_true() -> None:
    for document in arithmetic.math(corpus_spec(count=200)):
        for line in said(document).split("\n"):
            numbers = [int(word) for word in re.findall(r"\d+", line)]
            if "+" in line or "sum" in line:
                assert numbers[0] + numbers[1] == numbers[2]
            elif " - " in line or "minus" in line:
                assert numbers[0] - numbers[1] == numbers[2]
            elif "*" in line or "times" in line:
                assert numbers[0] * numbers[1] == numbers[2]
            elif "divided" in line:
                assert divmod(numbers[0], numbers[1]) == (numbers[2], numbers[3])
            elif "steps" in line:
                first, step, *terms = numbers
                assert terms == [first + step * place for place in range(7)]
            elif "than" in line or "equal" in line:
                assert ("less" in line, "greater" in line) == (numbers[0] < numbers[1], numbers[0] > numbers[1])
            else:
                assert ("odd" in line) == bool(numbers[0] % 2)

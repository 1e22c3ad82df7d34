"""docs/known-data.md: a few rows of each layout come in by the lines that stand there, or after the conversion."""

from __future__ import annotations

import gzip
import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.data.files import records
from tests.unit.data.files_of_users import declare, jsonl, parquet, read, zst
from tests.unit.data.own_files import run
from tests.unit.data.pictures_of_users import png, tar
from tests.unit.data.small import Small, write_spec

PAGE = (Path(__file__).parents[3] / "docs/known-data.md").read_text()
TEXT = [f"document {number}" for number in range(4)]
TALK: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "!"}] for number in range(4)
]
SHARE: list[list[dict[str, Any]]] = [
    [{"from": "human", "value": one[0]["content"], "weight": 0.0}, {"from": "gpt", "value": "!", "weight": 1.0}]
    for one in TALK
]
WORSE = [[one[0], {"role": "assistant", "content": "?"}] for one in TALK]
Rows = list[dict[str, Any]]


def column(name: str, values: Iterable[Any], **more: Any) -> Rows:
    paired = {key: some for key, some in more.items() if isinstance(some, list)}
    return [
        {name: value, **more, **{key: some[number] for key, some in paired.items()}}
        for number, value in enumerate(values)
    ]


def gz(path: Path, rows: Rows) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "parquet": parquet, "gz": gz, "zst": zst, "zstd": zst, "jsonl": jsonl,
}  # fmt: skip
# Of each data set, by the first of its names: files and rows as its card has them.
LAYOUTS: dict[str, dict[str, Rows]] = {
    "FineWeb": {"data/CC-MAIN-2024-10/000_00000.parquet": column("text", TEXT, dump="x", token_count=3)},
    "FineWeb 2": {"data/fra_Latn/train/000_00000.parquet": column("text", TEXT, minhash_cluster_size=1),
                  "data/fra_Latn/test/000_00000.parquet": column("text", ["held out"]),
                  "data/fra_Latn_removed/train/000_00000.parquet": column("text", ["filtered out"])},
    "Dolma": {"documents/cc_en_head-0000.json.gz": column("text", TEXT, id="1", source="cc", metadata={})},
    "RedPajama 2": {"documents/2023-06/0000/en_head.json.gz": column("raw_content", TEXT, url="u", length=3)},
    "C4": {"en/c4-train.00000-of-00001.json.gz": column("text", TEXT, url="u", timestamp="t"),
           "en/c4-validation.00000-of-00001.json.gz": column("text", ["held out"])},
    "The Pile": {"train/00.jsonl.zst": column("text", TEXT, meta={"pile_set_name": "Pile-CC"})},
    "DCLM": {"global-shard_01_of_10/local-shard_0_of_10/shard_00000000_processed.jsonl.zst":
             column("text", TEXT, url="u", language_id_whole_page_fasttext={"en": 0.9})},
    "Nemotron-CC": {"data-jsonl/quality=high/kind=actual/kind2=actual/CC-MAIN-2013-20-part-00000.jsonl.zstd":
                    column("text", TEXT, warc_record_id="w")},
    "OLMo mixes": {"data/dclm/dclm-0000.json.zst": column("text", TEXT[:2], id="1"),
                   "data/pes2o/pes2o-0000.json.gz": column("text", TEXT[2:], id="1")},
    "StarCoder": {"python/train-00000-of-00001.parquet": column("content", TEXT, max_stars_count=1)},
    "The Stack": {"data/python/data-00000-of-00001.parquet": column("content", TEXT, size=1),
                  "data/c/data-00000-of-00001.parquet": column("content", ["another language"], size=1)},
    "Wikipedia": {"20231101.en/train-00000-of-00001.parquet": column("text", TEXT, title="t")},
    "Tulu 3": {"data/train-00000-of-00001.parquet": column("messages", TALK, id="1", source="s")},
    "SmolTalk": {"data/all/train-00000-of-00001.parquet": column("messages", TALK, source="s"),
                 "data/all/test-00000-of-00001.parquet": column("messages", TALK[:1]),
                 "data/everyday-conversations/train-00000-of-00001.parquet": column("messages", TALK[:1])},
    "UltraChat 200k": {"data/train_sft-00000-of-00001-f.parquet": column("messages", TALK, prompt="p"),
                       "data/test_sft-00000-of-00001-f.parquet": column("messages", TALK)},
    "LMSYS-Chat-1M": {"data/train-00000-of-00001.parquet": column("conversation", TALK, model="m")},
    "OpenThoughts": {"data/train-00000-of-00001.parquet": column("conversations", [
        [{"from": {"human": "user", "gpt": "assistant"}[turn["from"]], "value": turn["value"]} for turn in one]
        for one in SHARE], system="think first")},
    "SlimOrca": {"oo-labeled_correct.gpt4.sharegpt.jsonl": column("conversations", [
        [{"from": "system", "value": "be brief", "weight": None}, *one] for one in SHARE])},
    "UltraFeedback (binarized)": {
        "data/train_prefs-00000-of-00001.parquet": column("chosen", TALK, score_chosen=1.0),
        "data/train_sft-00000-of-00001.parquet": column("chosen", TALK, score_chosen=1.0),
        "data/test_prefs-00000-of-00001.parquet": column("chosen", TALK, score_chosen=1.0)},
    "UltraFeedback (binarized), pairs": {
        "data/train_prefs-00000-of-00001.parquet": column("chosen", TALK, rejected=WORSE, prompt="p", score_chosen=1.0),
        "data/test_prefs-00000-of-00001.parquet": column("chosen", TALK, rejected=WORSE, prompt="p")},
    "OLMo 2's and Tulu 3's preference mixes": {
        "data/train-00000-of-00001.parquet": column("chosen", TALK, rejected=WORSE, source="s", id="1")},
    "Orca DPO pairs": {"orca_rlhf.jsonl": [
        {"system": "be brief", "question": one, "chosen": "!", "rejected": "?"} for one in TEXT]},
    "Alpaca": {"data/train-0.parquet": [{"instruction": one, "input": "", "output": "!", "text": "t"} for one in TEXT]},
    "Dolly 15k": {"d.jsonl": [{"instruction": one, "context": "", "response": "!", "category": "c"} for one in TEXT]},
    "OpenOrca": {"1M.parquet": [{"system_prompt": "", "question": one, "response": "!", "id": "1"} for one in TEXT]},
    "FLAN": {"a.jsonl": [{"inputs": one, "targets": "!", "task": "t"} for one in TEXT]},
}  # fmt: skip


def tables() -> dict[str, dict[str, Any]]:
    """Of each row of a table that ends with lines of a spec: the first name of the data set, and the lines."""
    found = re.findall(r"^\| ([^|]+) \| [^|]+ \| `(\{.*\})` \|$", PAGE, flags=re.MULTILINE)
    return {name if name in LAYOUTS else name.partition(",")[0]: yaml.safe_load(lines) for name, lines in found}


def conversions() -> dict[str, Any]:
    """The functions that stand on the page."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    functions: dict[str, Any] = {}
    exec(code, functions)
    return functions


def converted(name: str, rows: Rows) -> Rows:
    """By the conversion of this name."""
    return list(conversions()[name](rows))


def test_every_data_set_of_the_page_has_its_rows_here() -> None:
    trained = {"parts as OpenAI has them", "OBELICS and MMC4 as lists of parts"}  # by test_pictures_trained
    assert set(tables()) == {*LAYOUTS, *trained, "LAION", "the same"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_as_they_are_published_come_in_by_the_lines_of_the_page(project: Small, name: str) -> None:
    for path, rows in LAYOUTS[name].items():
        (project.root / path).parent.mkdir(parents=True, exist_ok=True)
        WRITERS[path.rpartition(".")[2]](project.root / path, rows)
    declare(project, **tables()[name])
    assert len(read(project)) == 4


@pytest.mark.parametrize("name", ["LAION", "the same"])
def test_pictures_as_img2dataset_writes_them_are_found(project: Small, name: str) -> None:
    caption = "a cat {}" if name == "LAION" else "a dog"
    members = [
        (f"00000000{number}.{kind}", data)
        for number in range(4)
        for kind, data in (
            ("jpg", png(number)), ("json", b'{"caption": "a dog"}'), ("txt", caption.format(number).encode()),
        )
    ]  # fmt: skip
    tar(project.root / "00000.tar", members)
    sizes = {"cell": 8, "patch": 4, "channels": 1, "side": 32}
    write_spec(project.root, "mine", {"corpus": "mine", "unit": "items", "parameters": sizes, **tables()[name]})
    made = run(project)
    assert made.documents + made.heldout == 4


CHAT = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
TREE: Rows = [
    {"message_id": "1", "parent_id": None, "role": "prompter", "text": "a?"},
    {"message_id": "2", "parent_id": "1", "role": "assistant", "text": "b"},
    {"message_id": "3", "parent_id": "1", "role": "assistant", "text": "c"},
    {"message_id": "4", "parent_id": "2", "role": "prompter", "text": "d"},
    {"message_id": "5", "parent_id": "4", "role": "assistant", "text": "e"},
]
CONVERSIONS: dict[str, tuple[Rows, list[list[dict[str, Any]]]]] = {
    "oasst": (TREE, [
        [CHAT[0], {"role": "assistant", "content": "c"}],
        [*CHAT, {"role": "user", "content": "d"}, {"role": "assistant", "content": "e"}],
    ]),
    "wildchat": ([{"conversation": [{**one, "toxic": False} for one in CHAT]}], [CHAT]),
    "ultrachat": ([{"data": ["a?", "b"]}], [CHAT]),
    "hh": ([{"chosen": "\n\nHuman: a?\n\nAssistant: b", "rejected": "c"}], [CHAT]),
    "llava": (
        [{"image": "1.jpg", "conversations": [
            {"from": "human", "value": "<image>\na?"}, {"from": "gpt", "value": "b"}]}],
        [[{"role": "user", "content": [{"type": "image", "image": "1.jpg"}, {"type": "text", "text": "\na?"}]},
          {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_conversion_of_the_page_gives_rows_that_are_read(name: str) -> None:
    rows, wanted = CONVERSIONS[name]
    found = converted(name, rows)
    assert [row["messages"] for row in found] == wanted
    if name != "llava":  # which has pictures
        for row in found:
            assert records.document(json.dumps(row).encode(), records.shape("messages", {})).conversation is not None
    made = {word for word, value in conversions().items() if inspect.isfunction(value)}
    assert {*CONVERSIONS, "wikitext"} == made


def test_wikitext_comes_as_articles() -> None:
    """As its rows are: headings with blanks and a line break, empty rows between paragraphs."""
    said = ["", " = Robert Boulter = \n", "", " Robert is an actor . \n", "", " = = Career = = \n", "",
            " He had x = 2 . \n", "", " = Du Fu = \n", "", " Du Fu was a poet . \n"]  # fmt: skip
    found = [row["text"] for row in converted("wikitext", column("text", said))]
    assert found == ["".join(said[1:9]), "".join(said[9:])]

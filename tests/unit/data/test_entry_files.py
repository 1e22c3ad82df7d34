"""What a pattern and a folder name: the files that are meant, none beside them, and none left out without a word."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import pytest

from stages.data.files import entry_files
from stages.errors import UserError
from stages.spec.schema.paths import SUFFIXES


def made(base: Path, *names: str) -> None:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("{}")


def names(base: Path, name: str) -> list[str]:
    return [path.relative_to(base).as_posix() for path in entry_files.files(base, name, f"path: {name}", SUFFIXES)]


def test_what_is_hidden_is_left_out_of_patterns_as_of_folders(tmp_path: Path) -> None:
    made(tmp_path, "m/b.jsonl", "m/a.jsonl", "m/._a.jsonl", "m/.ipynb_checkpoints/a.jsonl", ".kept/c.jsonl")
    assert names(tmp_path, "m") == names(tmp_path, "m/*.jsonl") == ["m/a.jsonl", "m/b.jsonl"]
    assert names(tmp_path, "**/*.jsonl") == ["m/a.jsonl", "m/b.jsonl"]
    assert names(tmp_path, ".kept/*.jsonl") == [".kept/c.jsonl"], "named as such"


def test_the_files_of_a_folder_are_each_looked_at_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are: corpora of pages have hundreds of thousands."""
    count, hashed, plain = 300, list[None](), PurePath.__hash__
    made(tmp_path, *(f"m/{number}.md" for number in range(count)))
    monkeypatch.setattr(PurePath, "__hash__", lambda path: (hashed.append(None), plain(path))[1])
    assert len(names(tmp_path, "m")) == count
    assert len(hashed) < 10 * count


def test_a_link_to_a_folder_that_two_stars_pass_over_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "m/a.jsonl", "m/b/c.jsonl", "elsewhere/d/e.jsonl", "elsewhere/notes.md")
    (tmp_path / "m/same").symlink_to(tmp_path / "m/b")
    (tmp_path / "m/loop").symlink_to(tmp_path / "m")
    (tmp_path / "m/.hidden").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path, "m/**/*.jsonl") == ["m/a.jsonl", "m/b/c.jsonl"], "whose files are read already"
    (tmp_path / "m/b/more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"path: m/\*\*/\*\.jsonl: m/b/more is a link to a folder with files"):
        names(tmp_path, "m/**/*.jsonl")
    assert names(tmp_path, "m/**/c.jsonl") == ["m/b/c.jsonl"], "of which it has none"
    assert names(tmp_path, "m/*.jsonl") == ["m/a.jsonl"]


def test_a_folder_that_spark_wrote_is_its_files(tmp_path: Path) -> None:
    made(tmp_path, "m.parquet/part-0.parquet", "m.parquet/_SUCCESS", "m.parquet/.part-0.parquet.crc")
    assert names(tmp_path, "m.parquet") == names(tmp_path, "m.parquet/*.parquet") == ["m.parquet/part-0.parquet"]


TAKEN: dict[str, tuple[str, ...]] = {
    "all parts": ("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"),
    "parts from one on": ("a-001-of-002.jsonl", "a-002-of-002.jsonl"),
    "two sets of parts": ("a/x-000-of-001.jsonl", "b/x-000-of-002.jsonl", "b/x-001-of-002.jsonl"),
    "parts with fingerprints": (
        "train-00000-of-00002-0123456789abcdef.jsonl",
        "train-00001-of-00002-fedcba9876543210.jsonl",
    ),
    "one split": ("train/a.jsonl", "train/b.jsonl"),
    "names that only begin like splits": ("testimony.jsonl", "trainers.jsonl", "values.jsonl"),
    "pages called test and train": ("test.md", "train.md"),
    "files of other programs": ("a.jsonl", "dataset_info.json", "a.jsonl.sha256", "LICENSE", "state.json5"),
    "a saved folder": ("state.json", "data-00000-of-00001.arrow", "cache-0123456789abcdef.arrow"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_a_folder_of_one_kind_is_read(tmp_path: Path, case: str) -> None:
    made(tmp_path, *(f"m/{name}" for name in TAKEN[case]))
    (tmp_path / "m/state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    if case != "a saved folder":
        (tmp_path / "m/state.json").unlink()
    wanted = [name for name in TAKEN[case] if name.endswith(SUFFIXES) and not name.startswith("cache-")]
    assert names(tmp_path, "m") == sorted(f"m/{name}" for name in wanted)


REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "a folder that a pattern finds": (
        "m/*.parquet", ("m/1.parquet/part-0.parquet", "m/2.parquet"), r"m/1\.parquet is a folder, .* m/1\.parquet/\*"),
    "a file whose name is a pattern": ("a[1].jsonl", ("a[1].jsonl", "a1.jsonl"), "does not find the file of that very"),
    "only hidden files": ("*.jsonl", (".a.jsonl",), "no file below .* is called so"),
    "splits by files": ("m", ("m/train-0.jsonl", "m/test-0.jsonl"), r"several splits \(test, train\), such as test-0"),
    "splits by folders": ("m", ("m/data/train/a.jsonl", "m/data/validation/a.jsonl"), r"\(train, validation\)"),
    "splits inside of names": (
        "m", ("m/c4-train.0-of-1.json.gz", "m/c4-validation.0-of-1.json.gz"), r"several splits \(train, validation\)"),
    "splits that a pattern takes in": (
        "m/**/*.parquet", ("m/fra/train/0.parquet", "m/fra/test/0.parquet"), r"\(test, train\), .* a pattern for each"),
    "data of another kind alone": ("m", ("m/a.csv",), r"There is a\.csv\. `pyarrow\.parquet\.write_table"),
    "an array of JSON": ("m", ("m/a.json",), r"There is a\.json\. Of a JSON array, `jq -c '\.\[\]' IN"),
    "two kinds": ("m", ("m/README.md", "m/d/1.parquet", "m/d/2.parquet"), r"such as m/\*\*/\*\.parquet"),
    "a part that is missing": (
        "m", ("m/x-00000-of-00003.jsonl", "m/x-00002-of-00003.jsonl"), "2 of 3 files are there; x-00001-of-00003"),
    "a part with a fingerprint": (
        "m", ("m/x-00000-of-00003-0123456789abcdef.jsonl", "m/x-00002-of-00003-0123456789abcde0.jsonl"),
        "2 of 3 files are there; x-00001-of-00003"),
    "parts of two versions": (
        "m", ("m/x-00000-of-00001.jsonl", "m/x-00000-of-00002.jsonl", "m/x-00001-of-00002.jsonl"),
        r"m: x-00000-of-00001.jsonl and x-00000-of-00002.jsonl are of two sets of parts of one name"),
    "parts of two versions that a pattern finds": (
        "m/x-*.jsonl", ("m/x-00000-of-00001.jsonl", "m/x-00000-of-00002.jsonl", "m/x-00001-of-00002.jsonl"),
        r"m/x-00000-of-00001.jsonl and m/x-00000-of-00002.jsonl are of two sets of parts of one name"),
    "a part of two versions": (
        "m", ("m/x-00000-of-00001-0123456789abcdef.jsonl", "m/x-00000-of-00001-fedcba9876543210.jsonl"),
        r"x-00000-of-00001-0123456789abcdef.jsonl and x-00000-of-00001-fedcba9876543210.jsonl are of two"),
    "the last part": ("m", ("m/x_0-of-2.jsonl", "m/x-000-of-002.jsonl"), "x-001-of-002.jsonl is missing"),
    "a download that is not complete": ("m", ("m/a.jsonl", "m/b.jsonl.part"), r"b\.jsonl\.part is not read"),
    "another compression": ("m", ("m/a.jsonl", "m/c/b.jsonl.bz2"), r"c/b\.jsonl\.bz2 is not read"),
    "a suffix in capitals": ("m", ("m/A.JSONL",), r"A\.JSONL is not read, since .* Convert, complete or rename it"),
    "what datasets cached": ("m", ("m/x-train.arrow", "m/cache-0.arrow", "m/dataset_info.json"), "datasets. cache"),
    "saved folders below": ("m", ("m/a/data-0.arrow", "m/a/state.json"), r"a/state\.json in it is of a folder that"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_read_beside_or_left_out_is_named(tmp_path: Path, case: str) -> None:
    name, there, why = REFUSED[case]
    made(tmp_path, *there)
    with pytest.raises(UserError, match=why):
        names(tmp_path, name)


def test_a_folder_below_that_is_a_link_or_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "m/a.jsonl", "n/b.jsonl", "k/c/d.jsonl", "k/e.jsonl")
    (tmp_path / "m/l").symlink_to("../n")
    with pytest.raises(UserError, match=r"path: m: l in it is a link to a folder, .* Name what it leads to"):
        names(tmp_path, "m")
    scan = os.scandir

    def denied(path: str) -> object:
        if Path(path).name == "c":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    assert names(tmp_path, "k") == ["k/c/d.jsonl", "k/e.jsonl"]
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match=r"path: k: .*/k/c: Permission denied"):
        names(tmp_path, "k")


def test_a_pattern_for_each_split_takes_all_of_them_and_texts_may_be_called_anything(tmp_path: Path) -> None:
    made(tmp_path, "m/train-0.jsonl", "m/test-0.jsonl", "m/test.md", "m/train.md")
    assert names(tmp_path, "m/train*.jsonl") == ["m/train-0.jsonl"]
    assert names(tmp_path, "m/test*.jsonl") == ["m/test-0.jsonl"]
    assert names(tmp_path, "m/*.md") == ["m/test.md", "m/train.md"]


@pytest.mark.parametrize(
    ("beside", "pattern", "named"),
    [("state.json", "m/*.arrow", "m/cache-8e0f.arrow"), ("state.json", "m/data-*.arrow", "m/data-1-of-3.arrow"),
     ("dataset_info.json", "**/*.arrow", "m/cache-8e0f.arrow"), ("dataset_info.json", "m/data-*.arrow", ""),
     ("state.json", "m/data-[02]*.arrow", ""), ("README", "m/*.arrow", "")],
)  # fmt: skip
def test_what_datasets_made_of_the_data_next_to_it_is_not_read(
    tmp_path: Path, beside: str, pattern: str, named: str
) -> None:
    """Its cache of `map`, or a part of a version that was saved there before."""
    made(tmp_path, "m/data-0.arrow", "m/data-1-of-3.arrow", "m/data-2.arrow", "m/cache-8e0f.arrow")
    (tmp_path / "m" / beside).write_text(
        '{"_data_files": [{"filename": "data-0.arrow"}, {"filename": "data-2.arrow"}]}'
    )
    if named:
        with pytest.raises(
            UserError, match=rf"{named} is what datasets made of the data next to it .*, or of an earli"
        ):
            names(tmp_path, pattern)
    else:
        assert names(tmp_path, pattern) == sorted(
            path.relative_to(tmp_path).as_posix() for path in tmp_path.glob(pattern)
        )


def test_a_saved_folder_that_chooses_rows_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "m/data-0.arrow")
    rows = '{"_data_files": [{"filename": "data-0.arrow"}], "_indices_data_files": [{"filename": "indices.arrow"}]}'
    (tmp_path / "m/state.json").write_text(rows)
    with pytest.raises(UserError, match=r"chooses rows by their numbers .* `flatten_indices\(\)`"):
        names(tmp_path, "m")

"""Whatever a file holds, its audit ends soon and in a sentence; nothing outside is opened, nothing is run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stages.audit import run
from stages.audit.readers import text, tree
from stages.audit.readers.text import Source, Unreadable
from stages.audit.shell import reader
from stages.errors import UserError
from tests.edits import replaced

RECIPE = "pretrain_gpt.py --num-layers 2 --hidden-size 64 --train-iters 10 --lr 1e-3\n"
DOUBLED = "A=xxxxxxxxxxxxxxxx\n" + "A=$A$A$A$A\n" * 60
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]\n" for n in range(1, 12)
)
SCRIPTS = {
    "a variable that doubles": DOUBLED,
    "an array that doubles": "A=(x)\n" + 'A=("${A[@]}" "${A[@]}" "${A[@]}")\n' * 60,
    "a function that calls itself twice": "f() { f; f; }\nf\n",
    "loops in loops": "".join(f"for i{n} in {'x ' * 200}; do\n" for n in range(5)) + "A=1\n" + "done\n" * 5,
    "brackets without end": "$((" + "(" * 100_000,
    "substitutions in substitutions": "A=" + "$(" * 3_000 + ")" * 3_000,
    "branches in branches": "if [ $X ]; then\n" * 2_000 + "fi\n" * 2_000,
    "branches over many variables": "".join(f"v{n}=1\n" for n in range(9_000)) + "if $X; then A=1; fi\n" * 9_000,
    "flags that nothing knows": "python train.py " + " ".join(f"--num-layerz-{n}" for n in range(60_000)),
    "variables that nothing sets": " ".join(f"$WORLD_SIZE_{n}" for n in range(60_000)),
}
TREES = {
    "aliases of aliases": BOMB,
    "an alias of itself": "a: &a [*a, *a]\n",
    "one alias many times": "a: &a {" + ", ".join(f"k{n}: 1" for n in range(500)) + "}\nb:\n" + "  - *a\n" * 20_000,
    "one merge many times": "a: &a {" + ", ".join(f"k{n}: 1" for n in range(5_000)) + "}\nb:\n" + "  <<: *a\n" * 50_000,
    "lists in lists": "[" * 50_000,
    "keys again and again": "lr: {a: 1, b: 2}\n" * 40_000,
    "a tag that would build an object": "learning_rate: !!python/object/apply:os.system ['touch marked']\n",
    "a key that is a list": "? [a, b]\n: 1\n",
    "a number without end": "max_steps: " + "9" * 900_000 + "\n",
}


def source(path: Path) -> Source:
    return Source(path, path.parent, path.parent)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_read_or_refused_by_its_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text(SCRIPTS[name] + "\n" + RECIPE)
    try:
        said = "\n".join(one.name for one in run.read([tmp_path]).stages)
    except UserError as error:
        said = str(error)
    assert "run.sh" in said


@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_read_or_refused_by_its_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        read = len(tree.parse(TREES[name], "a.yaml").places)
    except Unreadable as error:
        read = error.where.line
    assert 1 <= read <= tree.MAX_LEAVES
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_a_script_says_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "marked"
    (tmp_path / "run.sh").write_text(f"touch {mark}\nA=$(touch {mark})\nB=`touch {mark}`\n: > {mark}\n" + RECIPE)
    run.findings(run.read([tmp_path]))
    assert not mark.exists()


def test_what_is_no_regular_text_file_is_named_and_left_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.sh").write_text("SECRET=4711\n" + RECIPE)
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "good.sh").write_text("source ../outside/secret.sh\nsource link.sh\n" + RECIPE)
    (folder / "link.sh").symlink_to(outside / "secret.sh")
    (folder / "linked").symlink_to(outside)
    os.mkfifo(folder / "pipe.sh")
    (folder / "binary.sh").write_bytes(b"\x7fELF\0\0" + RECIPE.encode())
    (folder / "latin.yaml").write_bytes("learning_rate: 1 # größe".encode("latin-1"))
    (folder / "huge.yaml").write_text("a: 1\n" * 300_000)
    (folder / "dir.yaml").mkdir()
    pipeline = run.read([folder])
    assert [one.name for one in pipeline.stages] == ["good.sh"]
    said = "\n".join(pipeline.notes)
    for words in ("pipe.sh:1: the file: found no regular file", "binary.sh:1: the file: found a byte of zero, as",
                  "is not UTF-8", "huge.yaml:1", "../outside/secret.sh is sourced, and was not",
                  "link.sh is sourced, and was not read"):  # fmt: skip
        assert words in said
    assert "4711" not in said


def test_a_link_a_pipe_or_a_device_that_is_given_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link.sh").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.sh")
    for path in (tmp_path / "link.sh", tmp_path / "pipe.sh"):
        with pytest.raises(UserError, match="no regular file"):
            run.read([path])


def test_a_folder_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_FILES", 3)
    for number in range(4):
        (tmp_path / f"{number}.sh").write_text(RECIPE)
    with pytest.raises(UserError, match="more than 3 files"):
        run.read([tmp_path])


def test_control_characters_are_spelled_out(tmp_path: Path) -> None:
    (tmp_path / "\x1b[31mred.sh").write_text(replaced(RECIPE, "1e-3", "1e3 --lr '\x1b]0;mine\x07'"))
    for one in run.findings(run.read([tmp_path])):
        assert "\x1b" not in "".join(map(str, one.as_dict().values()))


def test_scripts_that_source_one_another_end(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("source b.sh\n" + RECIPE)
    (tmp_path / "b.sh").write_text("source a.sh\nB=1\n")
    script = reader.read(source(tmp_path / "a.sh"))
    assert "a.sh is sourced, and was not read" in script.notes[0]

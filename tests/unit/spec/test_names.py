"""What becomes a folder, a rule or a word of a command has a plain name; no text holds a control character."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.cluster import site
from stages.contract import hardware
from stages.errors import SpecError, UserError
from stages.printable import CONTROL, printable
from stages.spec import nodes
from stages.spec.files import Files
from stages.spec.names import ALLOWED, NOT_PIPELINES, TAKEN
from stages.spec.project import Project
from tests.edits import replaced
from tests.unit.spec.small_project import edit

BAD = ["Warmup_1B", "a;touch x", "my-pipe", "a b", "a__b", "_a", "a_", "é", "a.b", "a/b", "$HOME", "a" * 65]
NAMED = [  # file, and the one place of it where something gets its name
    ("toy/pipeline.yaml", "small: {family", "NAME: {family"),
    ("toy/pipeline.yaml", "adamw: {kind", "NAME: {kind"),
    ("toy/pipeline.yaml", "  other:\n", "  NAME:\n"),
    ("toy/pipeline.yaml", "stages: [first,", "stages: [NAME,"),
    ("toy/first.yaml", "modules: {llm: small}", "modules: {NAME: small}"),
    ("toy/first.yaml", "name: short", "name: NAME"),
    ("toy/first.yaml", "weights: fresh", "weights: {release: NAME}"),
    ("data/mixtures.yaml", "  web:\n", "  NAME:\n"),
    ("data/published.yaml", "books:", "NAME:"),
    ("data/tokenizer.yaml", "tokenizer: mini", "tokenizer: NAME"),
]
FILES = [
    ("toy/second.yaml", "stage: second"),
    ("data/prose.yaml", "corpus: prose"),
    ("scales/mini.yaml", "scale: mini"),
]


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize(("file", "old", "new"), NAMED, ids=[old.strip() for _, old, _ in NAMED])
def test_a_name_that_a_shell_or_a_file_system_reads_otherwise_is_refused(
    root: Path, file: str, old: str, new: str, name: str
) -> None:
    line = edit(root, file, old, replaced(new, "NAME", f'"{name}"'))
    with pytest.raises(SpecError) as caught:
        Project.load(root).resolve("toy", "paper")
    assert (caught.value.where.file, caught.value.where.line) == (f"specs/{file}", line)
    assert caught.value.allowed == ALLOWED


@pytest.mark.parametrize("name", ["Warmup_1B", "w;touch x", "a b"])
@pytest.mark.parametrize(("file", "named"), FILES)
def test_so_is_a_file_of_that_name(root: Path, file: str, named: str, name: str) -> None:
    key, old = named.split(": ")
    edit(root, file, named, f'{key}: "{name}"')
    path = root / "specs" / file
    path.rename(path.with_name(f"{name}.yaml"))
    if key == "stage":
        edit(root, "toy/pipeline.yaml", f"first, {old},", f'first, "{name}",')
    with pytest.raises(SpecError, match=ALLOWED):
        Project.load(root).resolve("toy", name if key == "scale" else "mini")


@pytest.mark.parametrize("name", ["my-pipe", "Toy", *sorted(TAKEN - NOT_PIPELINES)])
def test_so_is_a_pipeline_that_a_rule_or_a_file_of_rules_cannot_be_named_by(root: Path, name: str) -> None:
    edit(root, "toy_variant/pipeline.yaml", "pipeline: toy_variant", f"pipeline: {name}")
    (root / "specs/toy_variant").rename(root / "specs" / name)
    with pytest.raises(SpecError, match=rf"^specs/{name}/pipeline.yaml:1: pipeline: found "):
        Project.load(root).resolve(name, "mini")


def test_so_is_a_profile_of_hardware(root: Path) -> None:
    shipped = Path(__file__).parents[3] / "specs/hardware/h100.yaml"
    (root / "specs/hardware").mkdir()
    (root / "specs/hardware/H 100.yaml").write_text(replaced(shipped.read_text(), ": h100\n", ": H 100\n"))
    with pytest.raises(SpecError, match=ALLOWED):
        hardware.load(Files(root), "H 100")


def test_a_phase_may_be_called_by_its_context(root: Path) -> None:
    edit(root, "toy/first.yaml", "name: short", "name: 4k")
    edit(root, "toy/first.yaml", "phases.short.budget", "phases.4k.budget")
    assert Project.load(root).resolve("toy", "paper").stages["first"].phases[0].name == "4k"


controls = st.sampled_from([*map(chr, [*range(32), 127, *range(128, 160), 0x2028, 0x2029, 0x202E, 0x2066])])


@given(controls, st.booleans())
def test_a_control_character_is_refused_at_its_line_and_never_shown(character: str, key: bool) -> None:
    word = f'"a\\U{ord(character):08x}b"'
    text = f"title: plain\n{word}: x\n" if key else f"title: plain\nbox: {word}\n"
    with pytest.raises(SpecError) as caught:
        nodes.parse(text.encode(), "specs/toy/pipeline.yaml")
    assert caught.value.where.line == 2
    assert not CONTROL.search(str(caught.value))


def test_a_folded_text_may_end_with_its_line_and_a_text_of_several_lines_is_told_how_to_fold() -> None:
    assert nodes.parse(b"reason: >\n  one\n  two\n", "x").value == {"reason": "one two"}
    with pytest.raises(SpecError, match=r"fold it with `>-`"):
        nodes.parse(b"reason: |\n  one\n  two\n", "x")


@pytest.mark.parametrize("text", ['partition: "a\\nscancel 1"\n', 'account: "a\\e[2J"\n', 'extra: ["--a=\\r"]\n'])
def test_so_it_is_in_what_a_cluster_is_called(tmp_path: Path, text: str) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm/site.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"^slurm/site.yaml:1: .* control character"):
        site.load(tmp_path)


def test_an_error_shows_what_a_tag_spells_without_acting_on_the_terminal() -> None:
    with pytest.raises(UserError) as caught:
        nodes.parse(b"box: !a%1Bb x\n", "x")
    assert "!a\\x1bb" in str(caught.value)


@given(st.text())
def test_what_is_printed_holds_no_control_character_but_line_breaks(text: str) -> None:
    shown = printable(text)
    assert not CONTROL.search(shown.replace("\n", ""))
    assert printable(shown) == shown

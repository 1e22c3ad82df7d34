"""The scale of a command where none is named."""

from pathlib import Path

import pytest

from stages import cli
from stages.commands.find_project import published_scale
from stages.scaffold import init
from stages.spec.project import Project
from stages.sync import config, write
from tests.edits import replaced


@pytest.mark.parametrize(("others", "usual"), [((), "mini"), (("big", "paper"), "paper"), (("big", "xl"), "mini")])
def test_it_is_the_paper_s_then_the_one_that_snakemake_runs(
    tmp_path: Path, others: tuple[str, ...], usual: str
) -> None:
    root = init.create(tmp_path / "x", "tiny")
    text = (root / "specs/scales/mini.yaml").read_text()
    for name in others:
        (root / f"specs/scales/{name}.yaml").write_text(replaced(text, "scale: mini", f"scale: {name}"))
    assert published_scale(Project.load(root)) == published_scale(Project.load(root), "tiny") == usual


def test_without_either_it_is_the_first(tmp_path: Path) -> None:
    root = init.create(tmp_path / "x", "tiny")
    mini = root / "specs/scales/mini.yaml"
    for name in ("xl", "big"):
        mini.with_name(f"{name}.yaml").write_text(replaced(mini.read_text(), "scale: mini", f"scale: {name}"))
    mini.unlink()
    assert published_scale(Project.load(root)) == "big"


@pytest.mark.parametrize(
    ("scales", "said"),
    [
        (["laptop"], "at scale laptop"),
        (["laptop", "mini"], "at scale mini"),
        (["big", "laptop"], "found 'mini'; allowed: big, laptop. Without --scale, mini is meant: add `--scale big`."),
    ],
)
def test_a_command_takes_mini_or_the_only_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scales: list[str],
    said: str,
) -> None:
    root = at_scales(tmp_path, scales)
    monkeypatch.chdir(root / "data")
    monkeypatch.setattr("sys.argv", ["stages", "list"])
    with pytest.raises(SystemExit):
        cli.main()
    assert said in "".join(capsys.readouterr())


def test_a_project_with_one_scale_needs_it_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ci.sh calls first: `stages sync --check`, of rules and dvc.yaml that `stages sync` wrote."""
    root = at_scales(tmp_path, ["laptop"])
    monkeypatch.chdir(root)
    for words, code in ((["sync", "--check"], 1), (["sync"], 0), (["sync", "--check"], 0), (["status"], 0)):
        monkeypatch.setattr("sys.argv", ["stages", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code, words
    assert write.dvc_scale(root) == "laptop"
    assert "`snakemake -n` lists what would run" in capsys.readouterr().out
    assert config.read_config(root, {})[0] == "laptop"


def at_scales(folder: Path, scales: list[str]) -> Path:
    """The example, its scale written under these names."""
    root = init.create(folder / "x", "tiny")
    mini = root / "specs/scales/mini.yaml"
    text = mini.read_text()
    mini.unlink()
    for name in scales:
        mini.with_name(f"{name}.yaml").write_text(replaced(text, "scale: mini", f"scale: {name}"))
    return root

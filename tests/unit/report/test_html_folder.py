"""The folder of a report: what the command writes, what it replaces, and the logs that are copied."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stages.commands.report import write_report
from stages.errors import UsageError
from stages.report.html import folder
from tests.unit.report.make import ouro_like
from tests.unit.report.pages import HEAD, subject
from tests.unit.spec import small_project


def test_a_folder_replaces_an_earlier_report_and_nothing_else(tmp_path: Path) -> None:
    made = [subject(tmp_path, ouro_like("mini"))]
    out = tmp_path / "there" / "report"
    folder.write(out, made, HEAD)
    (out / "old.html").write_text("")
    folder.write(out, made, HEAD)
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "ouro.html", folder.MARK]
    assert [path.name for path in out.parent.iterdir()] == ["report"]  # nothing half-written, nothing old
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for other in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(UsageError, match="allowed: a new folder"):
            folder.write(other, made, HEAD)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_the_end_of_a_long_log_is_copied_without_control_characters(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"x" * folder.LOG + b"\n\x1b[31mred\xff\n")
    text = folder.end(log)
    assert "bytes are left out" in text
    assert "\x1b" not in text
    assert text.endswith("red\ufffd\n")


def test_the_command_writes_a_report_of_a_project_that_has_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small_project.write(tmp_path))
    write_report((), "mini", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.html")) == ["index.html", "toy.html"]
    assert "1 pipeline at mini" in capsys.readouterr().out
    page = (tmp_path / "out" / "toy.html").read_text()
    assert "everything: published 4,000,000,000, planned 4,000,000,000" in page
    write_report(["toy_variant"], "mini", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.html")) == ["index.html", "toy_variant.html"]
    with pytest.raises(UsageError, match="no pipeline 'nobody'"):
        write_report(["nobody"], "mini", tmp_path / "out")
    for inside in ("results/mini/report", "specs/x", "rules"):
        with pytest.raises(UsageError, match=r"is inside .*/; allowed: a new folder elsewhere"):
            write_report((), "mini", Path(inside))


def test_a_report_is_made_without_torch(tmp_path: Path) -> None:
    small_project.write(tmp_path)
    code = (
        "import sys; from pathlib import Path; from stages.commands.report import write_report; "
        "write_report((), 'mini', Path('out')); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)

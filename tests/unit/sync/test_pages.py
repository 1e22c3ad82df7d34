"""`snakemake --report` carries the pages that `stages report` writes."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages.scaffold import init
from stages.sync import pages


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["snakemake", "--report", "x.html"], True),
        (["snakemake", "--report=x.html"], True),
        (["snakemake", "--report-after-run"], False),
        (["snakemake", "-n"], False),
    ],
)
def test_pages_are_written_where_a_report_is_asked_for(words: list[str], asked: bool) -> None:
    assert pages.asked(words) == asked


@pytest.mark.slow
def test_snakemakes_report_has_the_page_of_the_pipeline_byte_by_byte(tmp_path: Path) -> None:
    project, out = init.create(tmp_path / "x", "tiny"), tmp_path / "report.html"
    words = [sys.executable, "-m", "snakemake", "tiny", "--report", str(out)]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = pages.folder(project, "mini") / "tiny.html"
    assert "A first pipeline" in page.read_text()
    embedded = re.findall(r"data:text/html;[^,]*base64,([A-Za-z0-9+/=]+)", out.read_text())
    assert page.read_bytes() in [base64.b64decode(one) for one in embedded]
    assert "scale mini: tiny 3 stages (3 to run)" in done.stderr
    assert "Building DAG" not in done.stderr + done.stdout

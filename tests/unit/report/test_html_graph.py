"""The graph on a pipeline's page: every stage says what it is called, its state, and its budget or kind."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from stages.report.html import graph
from tests.unit.report.make import T, phase, stage
from tests.unit.report.pages import subject


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("name", ["sft", "reasoning_sft", "reasoning_sft_of_both_1_4b", "x" * 64])
def test_no_line_of_a_stage_is_left_out_or_on_another(tmp_path: Path, name: str, wide: bool) -> None:
    """Ten stages in a row leave the least width to each."""
    names = [name, *(f"s{number}" for number in range(9))]
    stages = {
        one: stage(one, one, phases=[phase(T)], parents=[above] if above else [], scale="mini")
        for above, one in zip(["", *names], names, strict=False)
    }
    drawn = ElementTree.fromstring(str(graph.draw(subject(tmp_path, stages).views, wide)))
    assert len(drawn.findall(".//a")) == 10
    for node in drawn.findall(".//a"):
        box = next(node.iter("rect"))
        top, height = float(box.attrib["y"]), float(box.attrib["height"])
        left, width = float(box.attrib["x"]), float(box.attrib["width"])
        assert 1 <= left < left + width <= float(drawn.attrib["viewBox"].split()[2]) - 1, "its frame is not cut"
        texts = [(float(one.attrib["y"]), one.text) for one in node.iter("text")]
        rows = sorted(row for row, _ in texts)
        assert {"missing", "1T · 4K"} <= {text for _, text in texts}
        assert all(after - before >= graph.LINE for before, after in pairwise(rows))
        assert top + 10 < rows[0]
        assert rows[-1] < top + height

"""What rules ask of the workflow: who goes first when there are more jobs than cores."""

from pathlib import Path

from stages.spec.project import Project
from stages.sync import graph
from stages.sync.workflow import urgencies

ROOT = Path(__file__).resolve().parents[3]


def test_a_parent_goes_before_its_children_and_a_corpus_before_its_readers() -> None:
    loaded = graph.load(ROOT, Project.load(ROOT), "mini")
    found = urgencies(loaded)
    for ref, stage in loaded.stages.items():
        for name in (*stage.parents, *graph.corpora(stage, loaded.corpora)):
            assert found[name] > found[ref]


def test_the_longest_chain_goes_first() -> None:
    found = urgencies(graph.load(ROOT, Project.load(ROOT), "mini"))
    assert found["ouro/thinking_2_6b"] == 0
    assert (
        found["ouro/warmup"] == 9
    )  # stable I, upcycle, stable II, annealing, LongCT, mid-training, Ouro, SFT, Thinking
    assert found["ouro/warmup"] > found["llama31_1m/base"] > found["kimi_vl/text_pretrain"]

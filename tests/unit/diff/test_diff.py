"""`stages diff`: what it says that a change of the specs does, and which changes mean nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from stages.commands.diff import print_diff
from tests.edits import replaced
from tests.unit.diff.conftest import GIT, ROOT, Told, commit, found, refs
from tests.unit.spec.small_project import edit

PIPELINE, FIRST, SECOND = "toy/pipeline.yaml", "toy/first.yaml", "toy/second.yaml"


def test_a_peak_rate_on_one_screen(root: Path, told: Told) -> None:
    edit(root, PIPELINE, "to: 1e-3, for: 100 steps", "to: 5e-4, for: 100 steps")
    assert told() == snapshot("""\
HEAD → work tree, at paper

edited:
  specs/toy/pipeline.yaml:15  schedules.main.0.to: 1e-3 → 5e-4

changes (3, in 3 ways):
  toy/first
      LR begins 0 as before, peak 1e-3 → 5e-4, ends 5.5e-4 → 3e-4; -50% at most, from the first step on
  toy/second
      LR begins at its peak, 5.5e-4 → 3e-4, ends 1e-4 as before; -45.5% at most, from the first step on
  toy_variant/second
      LR begins at its peak, 5.5e-4 → 3e-4, ends 2.3e-4 → 1.6e-4; -45.5% at most, from the first step on

stale downstream, the same work on other inputs (2):
  toy/release, toy_variant/release

tokens: unchanged; RoPE: unchanged
GPU-hours of all pipelines on h100: unchanged
to be run again: 5 stages, 0.0927 GPU-hours, of which 0.0193 are variants'; 0 stay as they are
""")


def test_a_context_and_a_rope_base_on_one_screen(root: Path, told: Told) -> None:
    edit(root, SECOND, "base: 10_000", "base: 50_000")
    edit(root, SECOND, "budget: 2B", "budget: 1.5B")
    edit(root, PIPELINE, "until: 4B}\n  other", "until: 3.5B}\n  other")
    edit(root, PIPELINE, "tokens: 4B", "tokens: 3.5B")
    assert told() == snapshot("""\
HEAD → work tree, at paper

edited:
  specs/toy/pipeline.yaml:7  claims.everything.tokens: 4B → 3.5B
  specs/toy/pipeline.yaml:16  schedules.main.1.until: 4B → 3.5B
  specs/toy/second.yaml:15  rope.base: 10_000 → 50_000
  specs/toy/second.yaml:20  phases.main.budget: 2B → 1.5B

changes (5, in 4 ways):
  toy/first
      LR begins 0 as before, peak 1e-3 as before, ends 5.5e-4 → 4.5e-4; -18.1% at most, from clock 26.21M on
  toy/second
      LR begins at its peak, 5.5e-4 → 4.5e-4, ends 1e-4 as before; -38.3% at most, from the first step on
      RoPE 10K → 50K
      budget 2B → 1.5B (-25%), steps 3815 → 2862
      data: other ranges of its corpora
      GPU-hours 0.0386 → 0.029
  toy/release, toy_variant/release
      RoPE 10K → 50K
  toy_variant/second
      LR begins at its peak, 5.5e-4 → 4.5e-4, ends 2.3e-4 → 1.5e-4; -37.8% at most, from the first step on
      RoPE 10K → 50K

tokens: 4B → 3.5B; RoPE: changed in 4
GPU-hours of all pipelines on h100: 0.0734 → 0.0638
to be run again: 5 stages, 0.0831 GPU-hours, of which 0.0193 are variants'; 0 stay as they are
""")


def test_markdown_for_a_pull_request(root: Path, told: Told) -> None:
    edit(root, SECOND, "batch: 64 seq", "batch: 128 seq")
    assert told(markdown=True) == snapshot("""\
### `stages diff` HEAD → work tree, at `paper`

- `specs/toy/second.yaml:22` `phases.main.batch`: 64 seq → 128 seq

| stage | what changes |
|---|---|
| `toy/second` | steps 3815 → 1908<br>phases.main.batch.0.sequences 64 seq → 128 seq |

<details><summary>Stale downstream: 1</summary>

`toy/release`

</details>

tokens: unchanged; RoPE: unchanged  \n\
GPU-hours of all pipelines on h100: 0.0734, -0.00134%  \n\
to be run again: 2 stages, 0.0386 GPU-hours; 3 stay as they are  \n\

""")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (PIPELINE, "title: A toy", "title: Another toy  # prose"),
        (PIPELINE, "from: 0, to: 1e-3", "to: 0.001, from: 0"),
        (FIRST, "{after: 0.5B", "{after: 500_000_000 tokens"),
        (SECOND, "budget: 2B\n    context: 8Ki", "context: 8192\n    budget: 2000M"),
        (FIRST, "name: long", "name: lengthy"),
        (SECOND, "train: [llm]", "# nothing\ntrain:\n  - llm"),
        ("scales/paper.yaml", "memory: 100 GB, time_limit: 60 min", "memory: 100_000 MB, time_limit: 1 h"),
        ("scales/mini.yaml", "context: 1/64", "context: 2/128"),
    ],
)
def test_what_means_nothing_shows_nothing(root: Path, told: Told, name: str, old: str, new: str) -> None:
    edit(root, name, old, new)
    assert told() == "HEAD → work tree, at paper\n\nno semantic change: every stage has the key it had.\n"


def test_a_mixture_in_another_order_is_an_edit_and_a_change(root: Path, told: Told) -> None:
    """Corpora take turns in their order, which is in the key."""
    mixtures, first = "data/mixtures.yaml", "      - {corpus: crawl, share: 70%, group: text}\n"
    edit(root, mixtures, first, "")
    edit(root, mixtures, "share: 20%, group: text}\n", "share: 20%, group: text}\n" + first)
    text = told()
    assert "edited:\n  specs/data/mixtures.yaml:3  mixtures.web.sources.order: crawl, books → books, crawl\n" in text
    assert text.count("sources.order crawl, books → books, crawl") == 3, "of first's phases, of both seconds"
    assert found(told)["stale"] == ["toy/release", "toy_variant/release"]


def test_stages_that_exchange_their_names_are_not_run_again(root: Path, told: Told) -> None:
    other = replaced((root / "specs" / FIRST).read_text(), "stage: first", "stage: other")
    other = replaced(other, "64 seq", "32 seq", everywhere=True)
    (root / "specs/toy/other.yaml").write_text(other)
    edit(root, PIPELINE, "stages: [first,", "stages: [first, other,")
    commit(root, "three")
    first = (root / "specs" / FIRST).read_text()
    (root / "specs" / FIRST).write_text(replaced(other, "stage: other", "stage: first"))
    (root / "specs/toy/other.yaml").write_text(replaced(first, "stage: first", "stage: other"))
    edit(root, SECOND, "from: first", "from: other")
    text = told()
    assert "nothing is run (2):\n  toy/other → first, first → other\n" in text
    assert "changes (" not in text
    assert "to be run again: 0 stages, 0 GPU-hours; 6 stay as they are" in text


def test_a_recipe_of_data_whose_digest_is_kept_is_told(root: Path, told: Told) -> None:
    edit(root, "data/prose.yaml", "count: 1", "count: 2")
    text = told(scale="mini")
    assert "no semantic change: every stage has the key it had.\n\nprose is edited and its digest is as before" in text
    edit(root, "data/prose.yaml", "a" * 64, "d" * 64)
    text = told(scale="mini")
    assert "is edited and its digest" not in text
    fields = found(told, scale="mini")["changed"][0]["fields"]
    assert {"path": "phases.short.sources.prose.digest", "old": "a" * 64, "new": "d" * 64} in fields


def test_other_scales_and_hardware_are_told_apart(root: Path, told: Told) -> None:
    edit(root, "scales/mini.yaml", "lr: 10", "lr: 20")
    edit(root, "hardware/h100.yaml", "mfu: 40%", "mfu: 80%")
    text = told()
    assert "not what is computed:\n  specs/hardware/h100.yaml:7  mfu: 40% → 80%" in text, "it is priced on that machine"
    assert "edited, not read at paper:\n  specs/scales/mini.yaml:16  pipelines.toy.lr: 10 → 20" in text
    edit(root, "hardware/h200.yaml", "mfu: 40%", "mfu: 45%")
    assert "edited, not read at paper:\n  specs/hardware/h200.yaml:7  mfu: 40% → 45%" in told()
    edit(root, "scales/paper.yaml", "seed: 1", "seed: 2")
    assert "  specs/scales/paper.yaml:6  seed: 1 → 2\n\nedited, how it is run" in told(scale="mini"), "mini extends it"


def test_each_revision_is_priced_on_its_own_profile(root: Path, told: Told) -> None:
    edit(root, "hardware/h100.yaml", "peak: 989T", "peak: 1978T")
    edit(root, "hardware/h100.yaml", "bandwidth: 2.4T", "bandwidth: 4.8T")
    before, after = found(told)["published"]["device_hours"]
    assert after == pytest.approx(before / 2)


def test_a_scale_on_cpus_is_priced_on_a_cpu(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(root, SECOND, "batch: 64 seq", "batch: 128 seq")
    print_diff("HEAD", None, "mini", None, False, False)
    text = capsys.readouterr().out
    assert "core-hours of all pipelines on laptop_cpu" in text
    assert "GPU" not in text


def test_variants_have_a_price_too(root: Path, told: Told) -> None:
    edit(root, "toy_variant/second.yaml", "batch: 64 seq", "batch: 128 seq")
    text = told()
    assert "to be run again: 2 stages, 0.0193 GPU-hours, of which 0.0193 are variants'" in text
    assert found(told)["published"]["rerun_hours"] == 0


def test_a_later_clock_alone_is_told(root: Path, told: Told) -> None:
    """A stage whose parent becomes longer does the same work at a later point of its schedule's clock."""
    edit(root, PIPELINE, "    - {shape: cosine, to: 1e-4, until: 4B}", "    - {shape: constant, until: 4B}")
    commit(root, "constant")
    edit(root, FIRST, "budget: 1B\n    context: 8Ki", "budget: 1.5B\n    context: 8Ki")
    edit(root, PIPELINE, "until: 4B}\n  other", "until: 4.5B}\n  other")
    assert "toy/second, toy_variant/second\n      clock begins at 2B → 2.5B" in told()


def test_a_stage_that_reads_the_same_rates_behind_another_past_is_stale(root: Path, told: Told) -> None:
    edit(root, PIPELINE, "    - {shape: cosine, to: 1e-4, until: 4B}", "    - {shape: constant, until: 4B}")
    commit(root, "constant")
    edit(root, PIPELINE, "for: 100 steps", "for: 50 steps")
    difference = found(told)
    assert refs(difference["changed"]) == ["toy/first"]
    assert {"toy/second", "toy_variant/second"} <= {*difference["stale"]}


def test_a_scales_threads_are_how_it_is_run(root: Path, told: Told) -> None:
    edit(root, "scales/mini.yaml", "threads: 1", "threads: 2")
    assert "not what is computed:\n  specs/scales/mini.yaml:5  threads: 1 → 2" in told(scale="mini")


def test_execution_is_told_apart(root: Path, told: Told) -> None:
    edit(root, FIRST, "nodes: 2", "nodes: 4")
    text = told()
    assert "not what is computed:\n  specs/toy/first.yaml:39  execution.nodes: 2 → 4" in text
    assert "no semantic change" in text


def test_downstream_is_stale_and_a_sibling_is_not(root: Path, told: Told) -> None:
    edit(root, SECOND, "seq\n    micro_batch: 1 seq", "seq\n    micro_batch: 2 seq")
    difference = found(told)
    assert (refs(difference["changed"]), difference["stale"]) == (["toy/second"], ["toy/release"])
    assert difference["changed"][0]["fields"] == [{"path": "phases.main.micro_batch", "old": "1 seq", "new": "2 seq"}]
    assert difference["changed"][0]["lr"] is None


def test_the_first_clock_and_the_largest_change(root: Path, told: Told) -> None:
    edit(root, PIPELINE, "cosine, to: 1e-4", "cosine, to: 2e-4")
    first = found(told)["changed"][0]["lr"]
    warm_up = 100 * 64 * 4096
    assert first["first_clock"] == warm_up + 1 or warm_up < first["first_clock"] < warm_up + 10_000
    assert first["start"] == [0.0, 0.0]
    last = next(change for change in found(told)["changed"] if change["ref"] == "toy/second")["lr"]
    assert (last["end"], last["largest"]) == ([1e-4, 2e-4], 1.0)


def test_added_and_removed_stages(root: Path, told: Told) -> None:
    edit(root, PIPELINE, "stages: [first, second, release]", "stages: [first, second]")
    (root / "specs/toy/release.yaml").unlink()
    commit(root, "two")
    assert found(told, old="HEAD~1", new="HEAD")["removed"] == ["toy/release", "toy_variant/release"]
    assert found(told, old="HEAD", new="HEAD~1")["added"] == ["toy/release", "toy_variant/release"]


def test_the_scale_decides_what_is_compared(root: Path, told: Told) -> None:
    edit(root, "scales/mini.yaml", "lr: 10", "lr: 20")
    assert not found(told, scale="paper")["semantic"]
    mini = found(told, scale="mini")
    assert refs(mini["changed"])[:2] == ["toy/first", "toy/second"]
    assert mini["edits"][0]["key"] == "pipelines.toy.lr"


@pytest.mark.slow
def test_the_pages_edit_of_ouros_stable_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line of the real specs: the peak of the stable schedule. docs/plan-and-diff.md shows what is printed."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    subprocess.run([*GIT, "init", "-q", "."], cwd=tmp_path, check=True)
    commit(tmp_path, "one")
    monkeypatch.chdir(tmp_path)
    edit(tmp_path, "ouro/pipeline.yaml", "to: 3e-4, for: 2000 steps", "to: 2.5e-4, for: 2000 steps")
    print_diff("HEAD", None, "paper", "h100", False, False)
    text = capsys.readouterr().out
    print_diff("HEAD", None, "paper", "h100", False, True)
    difference = json.loads(capsys.readouterr().out)
    own = [ref for ref in refs(difference["changed"]) if ref.startswith("ouro/")]
    assert own == [
        f"ouro/{name}"
        for name in (
            "warmup", "stable_1", "stable_2_1_4b", "ct_anneal_1_4b", "stable_2_2_6b", "ct_anneal_2_6b",
        )
    ]  # fmt: skip
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    page = (ROOT / "docs/plan-and-diff.md").read_text()
    shown = page.split("<!-- screen: stages diff -->\n```text\n")[1].split("\n```")[0]
    assert shown == text.rstrip("\n")
    assert difference["published"]["tokens"][0] == difference["published"]["tokens"][1]
    assert not any(ref.startswith(("kimi", "llama")) for ref in refs(difference["changed"]) + difference["stale"])

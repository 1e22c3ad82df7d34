"""`stages diff`: what a change of the specs is told to do, and what means nothing."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from inline_snapshot import snapshot

from stages.commands.diff import print_diff
from stages.diff.revision import specs_at
from stages.errors import UsageError, UserError
from tests.unit.diff.conftest import GIT, ROOT, commit
from tests.unit.spec.small_project import edit

PIPELINE, FIRST, SECOND = "toy/pipeline.yaml", "toy/first.yaml", "toy/second.yaml"


@pytest.fixture
def told(root, capsys):
    """What the command prints for the work tree against HEAD, or between two revisions."""

    def run(old="HEAD", new=None, markdown=False, as_json=False, scale="paper"):
        print_diff(old, new, scale, "h100", markdown, as_json)
        return capsys.readouterr().out

    return run


def found(told, **options):
    return json.loads(told(as_json=True, **options))


def refs(changes):
    return [change["ref"] for change in changes]


def test_a_peak_rate_on_one_screen(root, told):
    edit(root, PIPELINE, "to: 1e-3, for: 100 steps", "to: 5e-4, for: 100 steps")
    assert told() == snapshot("""\
HEAD → work tree, at paper

edited:
  specs/toy/pipeline.yaml:15  schedules.main.0.to: 1e-3 → 5e-4

changes (3):
  toy/first                      LR begins at 0 as before, ends 5.5e-4 → 3e-4, -50% at most
  toy/second                     LR begins 5.5e-4 → 3e-4, ends at 1e-4 as before, -45.5% at most
  toy_reading/second             LR begins 5.5e-4 → 3e-4, ends 2.3e-4 → 1.6e-4, -45.5% at most

stale downstream, the same work on other inputs (2):
  toy/release toy_reading/release

tokens: unchanged; RoPE: unchanged; GPU-hours of all pipelines: unchanged (h100, without readings)
to be run again: 5 stages, 0.0173 GPU-hours without readings; 0 stay as they are
""")


def test_a_context_and_a_rope_base_on_one_screen(root, told):
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

changes (5):
  toy/first                      LR begins at 0 as before, ends 5.5e-4 → 4.5e-4, -18.1% at most from clock 26.21M on
  toy/second                     LR begins 5.5e-4 → 4.5e-4, ends at 1e-4 as before, -38.3% at most
                                 RoPE 10K → 50K
                                 budget 2B → 1.5B (-25%)
                                 steps 3815 → 2862
                                 GPU-hours 0.00973 → 0.0073
                                 data: ranges of corpora move (3)
  toy/release                    RoPE 10K → 50K
  toy_reading/second             LR begins 5.5e-4 → 4.5e-4, ends 2.3e-4 → 1.5e-4, -37.8% at most
                                 RoPE 10K → 50K
  toy_reading/release            RoPE 10K → 50K

tokens: 4B → 3.5B; RoPE: changed in 4; GPU-hours of all pipelines: 0.0173 → 0.0148 (h100, without readings)
to be run again: 5 stages, 0.0148 GPU-hours without readings; 0 stay as they are
""")


def test_markdown_for_a_pull_request(root, told):
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

tokens: unchanged; RoPE: unchanged; GPU-hours of all pipelines: unchanged (h100, without readings)  \n\
to be run again: 2 stages, 0.00973 GPU-hours without readings; 3 stay as they are  \n\

""")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (PIPELINE, "title: A toy", "title: Another toy  # prose"),
        (PIPELINE, "from: 0, to: 1e-3", "to: 0.001, from: 0"),
        (FIRST, "{after: 0.5B", "{after: 500_000_000 tokens"),
        (SECOND, '{covers: ["*"], mark: chosen}', '{covers: ["*"], mark: assumed, reason: a guess}'),
        (SECOND, "budget: 2B\n    context: 8Ki", "context: 8192\n    budget: 2000M"),
        (FIRST, "name: long", "name: lengthy"),
        (SECOND, "train: [llm]", "# nothing\ntrain:\n  - llm"),
    ],
)
def test_what_means_nothing_shows_nothing(root, told, name, old, new):
    edit(root, name, old, new)
    assert told() == "HEAD → work tree, at paper\n\nno semantic change: every stage has the key it had.\n"


def test_execution_is_told_apart(root, told):
    edit(root, FIRST, "nodes: 2", "nodes: 4")
    text = told()
    assert "not what is computed:\n  specs/toy/first.yaml:39  execution.nodes: 2 → 4" in text
    assert "no semantic change" in text


def test_downstream_is_stale_and_a_sibling_is_not(root, told):
    edit(root, SECOND, "seq\n    micro_batch: 1 seq", "seq\n    micro_batch: 2 seq")
    difference = found(told)
    assert (refs(difference["changed"]), difference["stale"]) == (["toy/second"], ["toy/release"])
    assert difference["changed"][0]["fields"] == [{"path": "phases.main.micro_batch", "old": "1 seq", "new": "2 seq"}]
    assert difference["changed"][0]["lr"] is None


def test_the_first_clock_and_the_largest_change(root, told):
    edit(root, PIPELINE, "cosine, to: 1e-4", "cosine, to: 2e-4")
    first = found(told)["changed"][0]["lr"]
    warm_up = 100 * 64 * 4096
    assert first["first_clock"] == warm_up + 1 or warm_up < first["first_clock"] < warm_up + 10_000
    assert first["start"] == [0.0, 0.0]
    last = next(change for change in found(told)["changed"] if change["ref"] == "toy/second")["lr"]
    assert (last["end"], last["largest"]) == ([1e-4, 2e-4], 1.0)


def test_two_revisions_without_touching_the_work_tree(root, told):
    edit(root, SECOND, "batch: 64 seq", "batch: 128 seq")
    commit(root, "two")
    (root / "specs" / SECOND).write_text("broken: [")
    assert refs(found(told, old="HEAD~1", new="HEAD")["changed"])[0] == "toy/second"
    assert (root / "specs" / SECOND).read_text() == "broken: ["


def test_added_and_removed_stages(root, told):
    edit(root, PIPELINE, "stages: [first, second, release]", "stages: [first, second]")
    (root / "specs/toy/release.yaml").unlink()
    commit(root, "two")
    assert found(told, old="HEAD~1", new="HEAD")["removed"] == ["toy/release", "toy_reading/release"]
    assert found(told, old="HEAD", new="HEAD~1")["added"] == ["toy/release", "toy_reading/release"]


def test_the_scale_decides_what_is_compared(root, told):
    edit(root, "scales/mini.yaml", "lr: 10", "lr: 20")
    assert not found(told, scale="paper")["semantic"]
    mini = found(told, scale="mini")
    assert refs(mini["changed"])[:2] == ["toy/first", "toy/second"]
    assert mini["edits"][0]["key"] == "pipelines.toy.lr"


def test_an_unknown_revision(root):
    with pytest.raises(UsageError, match="'nowhere' is no revision of the git repository"), specs_at(root, "nowhere"):
        pass


def test_an_option_is_no_revision(root):
    with pytest.raises(UsageError, match="is no revision"), specs_at(root, "--output=gone"):
        pass
    assert not (root / "gone").exists()


def test_a_revision_without_specs(root):
    subprocess.run([*GIT, "rm", "-rq", "specs"], cwd=root, check=True)
    commit(root, "gone")
    with pytest.raises(UsageError, match="has no specs/"), specs_at(root, "HEAD"):
        pass


def test_a_mistake_in_a_revision_is_told_with_its_name(root, told):
    edit(root, SECOND, "budget: 2B", "budget: 2 seq")
    commit(root, "bad")
    subprocess.run([*GIT, "checkout", "-q", "HEAD~1", "--", "specs"], cwd=root, check=True)
    with pytest.raises(UserError, match=r"^at revision HEAD: specs/toy/second.yaml:\d+: "):
        told()


@pytest.mark.slow
def test_the_readmes_edit_of_ouros_stable_rate(tmp_path, monkeypatch, capsys):
    """One line of the real specs: the peak of the stable schedule. The README shows what is printed, to the letter."""
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
    shown = (ROOT / "README.md").read_text().split("<!-- screen: stages diff -->\n```text\n")[1].split("\n```")[0]
    assert shown == text.rstrip("\n")
    assert difference["tokens"][0] == difference["tokens"][1]
    assert not any(ref.startswith(("kimi", "llama")) for ref in refs(difference["changed"]) + difference["stale"])

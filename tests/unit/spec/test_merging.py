"""`kind: merge`: how much of each parent is in it, that their order says nothing, and what does not fit together."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from pathlib import Path

import pytest

from stages.check.findings import unwaived
from stages.check.run import run_pipeline
from stages.contract import numbers
from stages.errors import SpecError
from stages.spec.project import Project
from stages.spec.resolved import Stage
from tests import shipped
from tests.edits import replaced
from tests.unit.spec.small_project import edit

PIPELINE, SECOND = "toy/pipeline.yaml", "toy/second.yaml"
ROOT = Path(__file__).parents[3]
NAMES = ("first@1B", "first", "first@262_144_000")


def project(root: Path, init: str) -> Project:
    figures = 'sources:\n  - {covers: ["*"], mark: chosen}\n' if "shares" in init or "decay" in init else ""
    (root / "specs/toy/soup.yaml").write_text(f"stage: soup\nbox: Soup\nkind: merge\ninit: {init}\n{figures}")
    if not (root / "specs/toy/kept.yaml").exists():  # a second recipe in the same project
        edit(root, PIPELINE, "[first, second, release]", "[first, second, soup, kept, release]")
    (root / "specs/toy/kept.yaml").write_text("stage: kept\nbox: Kept\nkind: keep\ninit: {from: first}\n")
    return Project.load(root)


def soup(root: Path, init: str) -> Stage:
    return project(root, init).resolve("toy", "paper").stages["soup"]


def parts(stage: Stage) -> dict[str, Fraction]:
    return {one.parent.partition("/")[2]: Fraction(*one.part) for one in stage.merge or ()}


def test_the_order_of_parents_says_nothing(root: Path) -> None:
    found = []
    for names in permutations(NAMES):
        made = project(root, f"{{from: [{', '.join(names)}], weights: uniform}}").resolve("toy", "paper")
        found.append((made.stages["soup"], made.keys["soup"]))
    assert all(one == found[0] for one in found)
    assert parts(found[0][0]) == dict.fromkeys(["first", "first_at_1b", "first_at_262144k"], Fraction(1, 3))


def test_a_merge_starts_a_clock_anew_and_a_share_is_in_its_key(root: Path) -> None:
    written = "{from: [first, first@1B], weights: weighted, shares: {first: 3, first@1B: 1}}"
    made = project(root, written).resolve("toy", "paper")
    assert parts(made.stages["soup"]) == {"first": Fraction(3, 4), "first_at_1b": Fraction(1, 4)}
    assert made.stages["soup"].clock == "reset"
    again = project(root, replaced(written, "first: 3", "first: 6", "first@1B: 1}", "first@1B: 2}"))
    assert again.resolve("toy", "paper").keys["soup"] == made.keys["soup"], "in proportion"
    other = project(root, replaced(written, "first: 3", "first: 2")).resolve("toy", "paper")
    assert other.keys["soup"] != made.keys["soup"]


def test_an_average_over_a_trunk_follows_its_tokens(root: Path) -> None:
    made = soup(root, f"{{from: [{', '.join(NAMES)}], weights: ema, decay: 0.9}}")
    decay = Fraction(9, 10)
    assert parts(made) == {"first_at_262144k": decay**2, "first_at_1b": (1 - decay) * decay, "first": 1 - decay}
    assert sum(parts(made).values()) == 1


@pytest.mark.parametrize(
    ("init", "key", "found"),
    [
        ("{from: [first], weights: uniform}", "init.from", "at least 2"),
        ("{from: [first, first], weights: uniform}", "init.from.1", "first"),
        ("{from: [first, nobody], weights: uniform}", "init.from.1", "'nobody'"),
        ("{from: [first, first@2000M], weights: uniform}", "init.from", "the same stage under two names"),
        ("{from: [first@1B, first@1000M], weights: uniform}", "init.from", "the same stage under two names"),
        ("{from: [first, kept], weights: uniform}", "init.from", "the same stage under two names"),
        ("{from: [first, second], weights: ema, decay: 0.9}", "init.weights", "ema over toy/first, toy/second"),
        ("{from: [first, second], weights: weighted}", "init.weights", "no `shares`"),
        ("{from: [first, second], weights: uniform, decay: 0.5}", "init.decay", "`decay` with weights: uniform"),
        ("{from: [first, second], weights: weighted, shares: {first: 1}}", "init.shares", "first"),
        ("{from: [first, second], weights: weighted, shares: {first: 1, second: 0}}", "init.shares.second", "'0'"),
        ("{from: [first, first@1B], weights: ema, decay: 1}", "init.decay", "'1'"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_key(root: Path, init: str, key: str, found: str) -> None:
    with pytest.raises(SpecError) as wrong:
        soup(root, init)
    assert wrong.value.key == key
    assert found in f"{wrong.value.found} {wrong.value.allowed}"


def test_a_merge_of_merges_and_its_export_are_evaluated_on_the_corpora_of_who_trained(root: Path) -> None:
    for name, init in (("soups", "{from: [soup, first], weights: uniform}"), ("release", "{from: soups}")):
        kind = "export" if name == "release" else "merge"
        (root / f"specs/toy/{name}.yaml").write_text(
            f"stage: {name}\nbox: A\nkind: {kind}\ninit: {init}\nevaluate: [validation_loss, position_loss]\n"
        )
    edit(root, PIPELINE, "[first, second, release]", "[first, second, soups, release]")
    edit(root, PIPELINE, "second, ", "second, soup, ")
    (root / "specs/toy/soup.yaml").write_text(
        "stage: soup\nbox: Soup\nkind: merge\ninit: {from: [first@1B, first], weights: uniform}\n"
    )
    stages = Project.load(root).resolve("toy", "paper").stages
    assert (
        stages["release"].evaluation.names == stages["soups"].evaluation.names == ("validation_loss", "position_loss")
    )


def test_shares_that_are_missing_are_told_where_no_figure_is_there_for_the_sources_either(root: Path) -> None:
    text = "stage: soup\nbox: S\nkind: merge\ninit: {from: [first, second], weights: weighted}\n"
    edit(root, PIPELINE, "[first, second, release]", "[first, second, soup, release]")
    (root / "specs/toy/soup.yaml").write_text(text + 'sources:\n  - {covers: ["*"], mark: chosen}\n')
    with pytest.raises(SpecError) as caught:
        Project.load(root).resolve("toy", "paper")
    assert (caught.value.key, caught.value.where.line) == ("init.weights", 4)
    assert caught.value.repair == "Add `shares: {first: ..., second: ...}`."


def test_models_that_differ_have_no_average(root: Path) -> None:
    edit(root, SECOND, "base: 10_000", "base: 20_000")
    with pytest.raises(SpecError, match="other rope in second than in first"):
        soup(root, "{from: [first, second], weights: uniform}")


def test_a_merge_hands_on_no_optimizer_state(root: Path) -> None:
    edit(root, SECOND, "  from: first\n", "  from: soup\n")
    edit(root, SECOND, "clock: continue", "clock: reset")
    with pytest.raises(SpecError, match="inherit from soup, a merge"):
        soup(root, "{from: [first, first@1B], weights: uniform}")


def test_models_that_are_looped_otherwise_have_no_average(tmp_path: Path) -> None:
    """The result's config.json has one count, and which parent's it was would follow from their names."""
    edit(shipped.copy(tmp_path), "ouro/pipeline.yaml", "\nstages:", "\nstages:\n  - soup")
    (tmp_path / "specs/ouro/soup.yaml").write_text(
        "stage: soup\nbox: Soup\nkind: merge\ninit: {from: [stable_1, stable_2_1_4b], weights: uniform}\nsources: []\n"
    )
    with pytest.raises(SpecError, match="8 loops in stable_1, 4 loops in stable_2_1_4b"):
        Project.load(tmp_path).resolve("ouro", "paper")


@pytest.mark.parametrize("through", ["kind: keep", "kind: upcycle"])
def test_loops_are_those_of_the_last_training_above(tmp_path: Path, through: str) -> None:
    """A parent that only hands on says nothing of loops itself: 24 layers x 8 loops go on as 48 x 4, or as 24 x 8."""
    edit(shipped.copy(tmp_path), "ouro/pipeline.yaml", "\nstages:", "\nstages:\n  - soup")
    parents = {"kind: keep": "keep_1_4b, stable_2_1_4b", "kind: upcycle": "upcycle_2_6b, stable_2_2_6b"}[through]
    (tmp_path / "specs/ouro/soup.yaml").write_text(
        f"stage: soup\nbox: Soup\nkind: merge\ninit: {{from: [{parents}], weights: uniform}}\nsources: []\n"
    )
    load = Project.load(tmp_path)
    if through == "kind: upcycle":
        assert load.resolve("ouro", "paper").stages["soup"].merge is not None
        return
    with pytest.raises(SpecError, match="8 loops in keep_1_4b, 4 loops in stable_2_1_4b"):
        load.resolve("ouro", "paper")


def below(root: Path, pieces: str, parents: str = "first, first@1B") -> Project:
    """The small project whose second stage starts from a merge, under a schedule of these pieces."""
    for name in ("pipeline", "second"):
        (root / f"specs/toy_variant/{name}.yaml").unlink()
    for old, new in (
        ("from: first\n", "from: soup\n"), ("optimizer: inherit", "optimizer: reset"),
        ("clock: continue", "clock: reset"), ("schedule: main", "schedule: other"),
    ):  # fmt: skip
        edit(root, SECOND, old, new)
    edit(root, PIPELINE, "    - {shape: cosine, to: 1e-4, until: 4B}", "    - {shape: constant, until: 2B}")
    edit(root, PIPELINE, "    - {shape: constant, from: current, until: 4B}", f"    - {pieces}")
    made = project(root, f"{{from: [{parents}], weights: uniform}}")
    (root / "specs/toy/kept.yaml").unlink()
    edit(root, PIPELINE, "second, soup, kept,", "soup, second,")
    return made


@pytest.mark.parametrize("scale", ["paper", "mini"])
@pytest.mark.parametrize("pieces", ["from: current", "from: 1e-3", "from: 2e-3, jump: a test"])
def test_a_schedule_goes_on_from_the_rate_that_all_parents_ended_at(root: Path, pieces: str, scale: str) -> None:
    """Also with a jump, which is one; and the point's tokens are the trunk's, so that 4B are 2B and 2B."""
    below(root, f"{{shape: constant, {pieces}, until: 2B}}")
    assert unwaived(run_pipeline(Project.load(root), "toy", scale)) == []


def test_a_rate_that_parents_do_not_share_is_not_current(root: Path) -> None:
    below(root, "{shape: constant, from: current, until: 2B}")
    edit(root, PIPELINE, "{shape: constant, until: 2B}", "{shape: cosine, to: 1e-4, until: 2B}")
    with pytest.raises(SpecError, match="and nothing where they ended apart") as error:
        Project.load(root).resolve("toy", "paper")
    apart = "`from: current` where first ended at 0.0001 and first_at_1b ended at 0.000559387"
    assert apart in error.value.found


def test_other_numbers_go_on_from_a_merge_too(root: Path) -> None:
    below(root, "{shape: constant, from: current, until: 2B}")
    mine = "  mine: {kind: adamw, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: {schedule: later}, "
    later = "  later:\n    - {shape: linear, from: current, to: 0.3, until: 2B}\n"
    edit(root, PIPELINE, "schedules:\n", f"{mine}decay: matrices, clip: 1}}\nschedules:\n{later}")
    edit(root, SECOND, "optimizer: adamw", "optimizer: mine")
    second = Project.load(root).resolve("toy", "paper").stages["second"]
    (number,) = [one for one in numbers.readings(second) if one.name == "weight_decay"]
    assert (number.first, number.last) == (0.1, 0.3)


@pytest.mark.parametrize(("seed", "refused"), [("", True), ("seed: 5\n", False)])
def test_a_copy_of_a_stage_under_another_name_is_no_second_parent(root: Path, seed: str, refused: bool) -> None:
    """Both are one result; at a scale, where recipes that differ may come out as one, nothing is said."""
    text = replaced((root / "specs/toy/first.yaml").read_text(), "stage: first", "stage: copied")
    (root / "specs/toy/copied.yaml").write_text(text + seed)
    made = project(root, "{from: [first, copied], weights: uniform}")
    edit(root, PIPELINE, "[first,", "[first, copied,")
    if refused:
        with pytest.raises(SpecError, match="the same stage under two names") as wrong:
            made.resolve("toy", "paper")
        assert wrong.value.key == "init.from"
    assert len(made.resolve("toy", "mini" if refused else "paper").stages["soup"].merge or ()) == 2


@pytest.mark.parametrize("other", ["kept", "again", "out"])
def test_what_hands_on_weights_as_they_are_is_no_second_parent(root: Path, other: str) -> None:
    """A keep, a keep of a keep, an export: a merge with what they have from would be that stage, under another key."""
    for name, kind, above in (("again", "keep", "kept"), ("out", "export", "again")):
        text = f"stage: {name}\nbox: B\nkind: {kind}\ninit: {{from: {above}}}\n"
        (root / f"specs/toy/{name}.yaml").write_text(text)
    project(root, f"{{from: [first, {other}], weights: uniform}}")
    edit(root, PIPELINE, "soup, kept,", "kept, again, out, soup,")
    made = Project.load(root)
    with pytest.raises(SpecError, match="the same stage under two names"):
        made.resolve("toy", "paper")

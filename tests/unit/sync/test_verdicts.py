"""Which stages are to be run when a parent is damaged, gone, or came out otherwise; what deep looks leave behind."""

from __future__ import annotations

import pytest

from stages.store import attempts, damage, done, evaluated, finish, manifest
from stages.store.layout import Layout
from stages.sync import graph, rules
from stages.sync.verdicts import judge
from tests.unit.store.conftest import Run, toy_manifest
from tests.unit.train import tiny

KEYS = {"toy/one": "a" * 32, "toy/two": "b" * 32, "toy/three": "c" * 32}
BOX = tiny.make("next_token")
CHAIN = {
    "toy/one": BOX,
    "toy/two": BOX.model_copy(update={"parents": ("toy/one",)}),
    "toy/three": BOX.model_copy(update={"parents": ("toy/two",)}),
}
WEIGHTS = "model/model.safetensors"


@pytest.fixture
def chain(layout: Layout, run: Run) -> Layout:
    """Three finished stages, each built on the one before."""
    for ref, stage in CHAIN.items():
        run(ref, KEYS[ref], {parent: KEYS[parent] for parent in stage.parents})
    return layout


def undone(layout: Layout, deep: tuple[str, ...] = ()) -> list[str]:
    return [ref for ref, verdict in judge(layout, CHAIN, KEYS, deep).items() if not verdict.done]


def test_a_damaged_or_missing_result_is_rebuilt_alone(chain: Layout) -> None:
    (chain.stage("toy/one") / WEIGHTS).unlink()
    assert undone(chain) == ["toy/one"]
    chain.manifest("toy/one").unlink()
    assert undone(chain) == ["toy/one"]
    chain.stage("toy/one").rename(chain.root / "aside")
    assert undone(chain) == ["toy/one"]


def test_a_parent_with_other_bits_makes_all_below_it_stale(chain: Layout, run: Run) -> None:
    run("toy/one", KEYS["toy/one"], content=b"other bits")
    assert undone(chain) == ["toy/two", "toy/three"]


def test_a_parent_under_another_key_is_to_be_put_back_and_its_children_stand(chain: Layout, run: Run) -> None:
    run("toy/one", "d" * 32, content=b"another spec's")
    assert undone(chain) == ["toy/one"]


def in_order(layout: Layout) -> None:
    """The three stages finished, without the promise of equal bits."""
    for ref, stage in CHAIN.items():
        parents = manifest.parents(layout, {parent: KEYS[parent] for parent in stage.parents})
        with attempts.start(layout, ref, KEYS[ref], parents) as attempt:
            (attempt.result / "model").mkdir()
            (attempt.result / WEIGHTS).write_bytes(b"weights")
            finish.finish(attempt, toy_manifest(attempt).model_copy(update={"tier": "same-order"}))


def test_without_the_promise_of_equal_bits_what_is_below_a_damaged_result_is_stale_too(layout: Layout) -> None:
    in_order(layout)
    (layout.stage("toy/one") / WEIGHTS).unlink()
    assert undone(layout) == ["toy/one", "toy/two", "toy/three"]


def test_what_is_stale_without_that_promise_makes_what_is_below_it_stale_whatever_its_own(layout: Layout) -> None:
    for ref, stage in CHAIN.items():
        parents = manifest.parents(layout, {parent: KEYS[parent] for parent in stage.parents})
        with attempts.start(layout, ref, KEYS[ref], parents) as attempt:
            (attempt.result / "model").mkdir()
            (attempt.result / WEIGHTS).write_bytes(b"weights")
            tier = "same-order" if ref == "toy/two" else "bit-exact"
            finish.finish(attempt, toy_manifest(attempt).model_copy(update={"tier": tier}))
    (layout.stage("toy/one") / WEIGHTS).unlink()
    assert undone(layout) == ["toy/one", "toy/two", "toy/three"]


RENAMED = {"toy/one": BOX, "toy/new": CHAIN["toy/two"], "toy/three": BOX.model_copy(update={"parents": ("toy/new",)})}


def after_renaming(layout: Layout) -> dict[str, tuple[str, str]]:
    """State and reason of each stage, once toy/two is called toy/new."""
    keys = {ref: KEYS["toy/two"] if ref == "toy/new" else KEYS[ref] for ref in RENAMED}
    return {ref: (verdict.state, verdict.why) for ref, verdict in judge(layout, RENAMED, keys).items()}


@pytest.mark.parametrize("there", [False, True], ids=["nothing there yet", "another spec's result there"])
def test_a_result_under_its_old_name_is_taken_over_and_what_is_built_on_it_stands(
    there: bool, layout: Layout, run: Run
) -> None:
    """Also where a rerun promises no equal bits: nothing is rerun."""
    in_order(layout)
    if there:
        run("toy/new", "d" * 32)
    taken = "toy/two has the same key: its result is taken over, no training"
    state = "stale" if there else "missing"
    assert after_renaming(layout) == {"toy/one": ("done", ""), "toy/new": (state, taken), "toy/three": ("done", "")}


def test_a_result_under_another_name_is_not_taken_over_where_it_was_built_on_other_bits(
    chain: Layout, run: Run
) -> None:
    run("toy/one", KEYS["toy/one"], content=b"other bits")
    assert after_renaming(chain)["toy/new"] == ("missing", "not run yet")


def test_a_damaged_result_is_told_as_one_whatever_another_name_has(chain: Layout, run: Run) -> None:
    run("toy/new", KEYS["toy/two"], {"toy/one": KEYS["toy/one"]})
    (chain.stage("toy/new") / WEIGHTS).unlink()
    state, why = after_renaming(chain)["toy/new"]
    assert (state, "taken over" in why) == ("damaged", False)


def test_what_a_stage_is_made_from_is_known_at_any_distance() -> None:
    made = graph.Graph("mini", {"toy": CHAIN}, {}, (), (), frozenset(), KEYS, {})
    assert graph.above(made, "toy/three") == {"toy/one", "toy/two"}


def test_the_local_tokenizer_is_needed_unless_corpora_keep_a_published_one() -> None:
    (name,) = {source.corpus for source in BOX.phases[0].sources}
    local, published = (
        graph.Graph("mini", {"toy": CHAIN}, {}, (), ("tokenizer", name), kept, KEYS, {})
        for kept in (frozenset[str](), frozenset({name}))
    )
    assert (graph.corpora(BOX, local), graph.corpora(BOX, published)) == (tuple(sorted((name, "tokenizer"))), (name,))
    needs = [f'prepared("tokenizer", "{name}")' in rules.data_rules(one) for one in (local, published)]
    assert needs == [True, False]


def test_what_a_deep_look_found_stays_known_until_it_is_mended(chain: Layout) -> None:
    path = chain.stage("toy/two") / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(b"weightr")
    assert undone(chain) == []
    assert undone(chain, deep=("toy/two",)) == ["toy/two"]
    assert undone(chain) == ["toy/two"]
    path.write_bytes(whole)
    assert undone(chain, deep=("toy/two",)) == []
    assert undone(chain) == []


def test_a_disk_that_refuses_the_note_hides_no_damage(chain: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    (chain.stage("toy/one") / WEIGHTS).write_bytes(b"weightr")
    monkeypatch.setattr(damage.files, "write_atomic", refuse)
    assert WEIGHTS in done.is_done(chain, "toy/one", KEYS["toy/one"], {}, deep=True).why


@pytest.mark.parametrize("tier", ["bit-exact", "same-order"])
def test_what_is_to_be_evaluated_again_is_said_so_and_its_children_stand(tier: str, layout: Layout) -> None:
    """Also where a rerun promises no equal bits: nothing is rerun."""
    for ref, stage in CHAIN.items():
        parents = manifest.parents(layout, {parent: KEYS[parent] for parent in stage.parents})
        with attempts.start(layout, ref, KEYS[ref], parents) as attempt:
            (attempt.result / "model").mkdir()
            (attempt.result / WEIGHTS).write_bytes(b"weights")
            (attempt.result / evaluated.NAME).write_bytes(evaluated.encode(stage))
            finish.finish(attempt, toy_manifest(attempt).model_copy(update={"tier": tier}))
    asking = BOX.evaluation.model_copy(update={"names": ("needle",)})
    judged = judge(layout, {**CHAIN, "toy/one": BOX.model_copy(update={"evaluation": asking})}, KEYS)
    assert judged["toy/one"].state == "unevaluated"
    assert judged["toy/one"].why == "evaluate: needle added"
    assert judged["toy/one"].command == "stages run toy/one --scale mini"
    assert judged["toy/two"].done
    assert judged["toy/three"].done

import pytest

from stages.contract.mixture import Mixture
from stages.spec.resolved_phases import ShareRamp, Source
from tests.unit.contract._make import phase, source

RAMP = ShareRamp(first=(0, 1), last=(2, 5), over=50)


def test_one_source_is_read_in_order() -> None:
    assert [Mixture(phase(sources=(source(3),))).pick(i) for i in range(3)] == [(0, 0), (0, 1), (0, 2)]


def test_three_to_one_takes_turns_evenly() -> None:
    mixture = Mixture(phase(sources=(source(1), source(3))))
    assert [mixture.pick(i)[0] for i in range(8)] == [1, 1, 1, 0, 1, 1, 1, 0]


def test_kimi_vl_share_rises_from_nothing_to_forty_percent() -> None:
    mixture = Mixture(phase(sources=(source(1), source(1, "multimodal")), share=RAMP))
    assert mixture.multimodal(0) == 0
    assert mixture.multimodal(50) == 10  # the mean of 0 and 0.4 over 50 samples
    assert mixture.multimodal(100) == 30  # then 0.4
    firsts = [i for i in range(100) if mixture.pick(i)[0] == 1]
    assert len(firsts) == 30
    assert firsts[0] >= 14, "text only at first: the share must integrate to one before a sample is multimodal"


def test_without_a_ramp_all_samples_are_of_the_one_group_there_is() -> None:
    pictures = Mixture(phase(sources=(source(3, "multimodal"), source(1, "multimodal"))))
    assert (pictures.multimodal(8), pictures.counts(8)) == (8, (6, 2))
    text = Mixture(phase(sources=(source(3), source(1))))
    assert (text.multimodal(8), text.counts(8)) == (0, (6, 2))


def test_paper_scale_counts_are_instant() -> None:
    mixture = Mixture(
        phase(
            sources=(source(734), source(130), source(20), source(75), source(41), source(1, "multimodal")),
            share=ShareRamp(first=(0, 1), last=(2, 5), over=85_449_218),
        )
    )
    assert sum(mixture.counts(170_898_437)) == 170_898_437
    assert mixture.pick(170_898_436)[0] in range(6)
    assert mixture.depth == 4


@pytest.mark.parametrize(
    ("sources", "share"),
    [((source(1),), RAMP), ((source(1), source(1, "multimodal")), None), ((), None), ((source(0),), None)],
)
def test_groups_and_share_belong_together(sources: tuple[Source, ...], share: ShareRamp | None) -> None:
    with pytest.raises(ValueError, match=r"share|weight"):
        Mixture(phase(sources=sources, share=share))


@pytest.mark.parametrize(
    "ramp", [((3, 2), (1, 2), 5), ((0, 1), (3, 2), 5), ((-1, 2), (1, 2), 5), ((1, 2), (-1, 2), 5), ((0, 1), (1, 2), -1)]
)
def test_impossible_shares(ramp: tuple[tuple[int, int], tuple[int, int], int]) -> None:
    with pytest.raises(ValueError, match="share"):
        Mixture(
            phase(
                sources=(source(1), source(1, "multimodal")), share=ShareRamp(first=ramp[0], last=ramp[1], over=ramp[2])
            )
        )


@pytest.mark.parametrize(
    ("first", "last", "over", "counts"),
    [
        ((0, 1), (1, 2), 4, [0, 0, 0, 0, 1, 1, 2]),  # n^2 / 16, then a half of what follows: 1 / 16, 1 / 4, 9 / 16, 1
        ((1, 1), (0, 1), 1, [0, 0, 0, 0]),  # one sample whose share falls from all to none: its half is none
        ((1, 1), (0, 1), 4, [0, 0, 1, 1, 2, 2]),  # n - n^2 / 8: 7 / 8, 3 / 2, 15 / 8, 2
        ((1, 3), (1, 3), 0, [0, 0, 0, 1, 1, 1, 2]),
        ((1, 4), (3, 4), 2, [0, 0, 1, 1, 2]),  # n / 4 + n^2 / 8: 3 / 8, 1
    ],
)
def test_the_count_is_the_integral_of_the_share_rounded_down(
    first: tuple[int, int], last: tuple[int, int], over: int, counts: list[int]
) -> None:
    both = (source(1), source(1, "multimodal"))
    mixture = Mixture(phase(sources=both, share=ShareRamp(first=first, last=last, over=over)))
    assert [mixture.multimodal(n) for n in range(len(counts))] == counts


def test_before_the_first_sample_there_is_none() -> None:
    with pytest.raises(IndexError, match="sample -1 comes before the first"):
        Mixture(phase(sources=(source(1),))).pick(-1)


MIXED = (source(2), source(1), source(3, "multimodal"), source(1, "multimodal"))


@pytest.mark.parametrize(("sources", "share"), [(MIXED[:2], None), (MIXED, RAMP)])
def test_a_sample_of_a_source_is_found_where_it_was_picked(
    sources: tuple[Source, ...], share: ShareRamp | None
) -> None:
    mixture, n = Mixture(phase(sources=sources, share=share)), 200
    picked = [mixture.pick(i) for i in range(n)]
    assert [mixture.place(*one, n) for one in picked] == list(range(n))
    assert {mixture.place(source, count, n) for source, count in enumerate(mixture.counts(n))} == {None}


def test_what_may_stand_in_for_a_sample_is_every_source_once_where_it_comes_next() -> None:
    mixture = Mixture(phase(sources=MIXED[:2]))
    picked = [mixture.pick(i) for i in range(5, 8)]
    assert list(mixture.ahead(5)) == [next(one for one in picked if one[0] == source) for source in (0, 1)]

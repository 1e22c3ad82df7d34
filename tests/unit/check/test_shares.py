"""Shares of corpora beside those of another mixture: notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.run import as_written
from stages.check.notices.shares import dropped, exchanged, out_of_proportion
from stages.spec.loader_data import LoadedData
from stages.spec.project import Project
from tests import shipped
from tests.edits import replaced

MIXTURES = "specs/data/mixtures.yaml"
TEXT = """      - {corpus: kimi_english, share: 40%, group: text}
      - {corpus: kimi_chinese, share: 20%, group: text}
      - {corpus: kimi_code, share: 20%, group: text}
"""


def changed(root: Path, *pairs: str) -> LoadedData:
    file = shipped.copy(root) / MIXTURES
    file.write_text(replaced(file.read_text(), *pairs))
    return Project.load(root).data


@pytest.mark.parametrize("tell", [exchanged, dropped, out_of_proportion])
def test_the_shipped_mixtures_follow_from_each_other(tell: type) -> None:
    assert list(tell(shipped.project().data)) == []


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        # in the mixture that is replayed
        (("map_cc, share: 13.0%", "map_cc, share: 7.5%",
          "opencoder_pretrain, share: 7.5%", "opencoder_pretrain, share: 13%"),
         "ouro_midtrain has the shares of ouro_stage_1 times 1/10 in group text, with the shares of map_cc and "
         "opencoder_pretrain exchanged."),
        # and in the replay
        (("megamath_hq, share: 2.76%", "megamath_hq, share: 2.04%", "sft_code, share: 2.04%", "sft_code, share: 2.76%"),
         "ouro_midtrain has the shares of ouro_stage_2 times 3/5 in group text, with the shares of megamath_hq and "
         "sft_code exchanged."),
    ],
)  # fmt: skip
def test_two_shares_of_a_replay_that_are_exchanged(tmp_path: Path, pairs: tuple[str, ...], said: str) -> None:
    (notice,) = exchanged(changed(tmp_path, *pairs))
    assert notice.partition(": ")[2] == said
    assert notice in as_written(Project.load(tmp_path))


def test_two_shares_that_are_raised_are_not_exchanged(tmp_path: Path) -> None:
    pairs = (
        "map_cc, share: 13.0%",
        "map_cc, share: 10.5%",
        "opencoder_pretrain, share: 7.5%",
        "opencoder_pretrain, share: 10%",
    )
    assert list(exchanged(changed(tmp_path, *pairs))) == []


@pytest.mark.parametrize(("mixture", "other"), [("kimi_joint", "kimi_text"), ("kimi_text", "kimi_joint")])
def test_a_corpus_that_was_lost_with_its_share_given_to_the_next(tmp_path: Path, mixture: str, other: str) -> None:
    old, without = f"  {mixture}:\n    sources:\n{TEXT}", TEXT.split("\n", 1)[1].split("\n", 1)[1]
    new = f"  {mixture}:\n    sources:\n      - {{corpus: kimi_english, share: 60%, group: text}}\n{without}"
    data = changed(tmp_path, old, new)
    (notice,) = dropped(data)
    line = (tmp_path / MIXTURES).read_text().splitlines().index(
        "      - {corpus: kimi_english, share: 60%, group: text}"
    ) + 1
    assert notice == (
        f"specs/data/mixtures.yaml:{line}: {mixture} is {other} without kimi_chinese, whose 20% kimi_english has."
    )


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (("kimi_long_text, share: 25%", "kimi_long_text, share: 2.5%", "kimi_selected_text, share: 67.5%",
          "kimi_selected_text, share: 90%"),
         "kimi_long is derived, and of kimi_cooldown it has kimi_synthetic_qa at 7.5% for 10% and "
         "kimi_selected_text at 90% for 90%."),
        (("opc_annealing, share: 0.3%", "opc_annealing, share: 3%", "nemotron_cc_hq, share: 39.9%",
          "nemotron_cc_hq, share: 37.2%"),
         "ouro_midtrain is derived, and of ouro_stage_2 it has nemotron_cc_hq at 37.2% for 66.5% and "
         "nemotron_cc_math at 9% for 15%."),
        (("      - {corpus: opc_annealing, share: 0.3%, group: text}\n", "", "midtrain_sft_mix, share: 30%",
          "midtrain_sft_mix, share: 30.3%"),
         "ouro_midtrain is derived, and has ouro_stage_2 times 3/5 without opc_annealing."),
    ],
)  # fmt: skip
def test_a_replay_that_is_not_its_mixture_times_a_factor(tmp_path: Path, pairs: tuple[str, ...], said: str) -> None:
    assert said in [one.partition(": ")[2] for one in out_of_proportion(changed(tmp_path, *pairs))]
    file = tmp_path / MIXTURES
    text = file.read_text()
    for mixture in ("kimi_long", "ouro_midtrain"):  # what is chosen need not follow from anything
        text = replaced(
            text, f"covers: [mixtures.{mixture}]\n    mark: derived", f"covers: [mixtures.{mixture}]\n    mark: chosen"
        )
    file.write_text(text)
    assert list(out_of_proportion(Project.load(tmp_path).data)) == []

"""Names that Snakemake is asked for and does not have."""

import pytest

from stages.sync.targets import mistaken

RULES = ("all", "variants", "tiny", "tiny__long", "tiny__sft", "data__tales")
REFS = ("tiny/long", "tiny/sft")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("-n tiny/sft", ["tiny/sft: Snakemake calls it tiny__sft: `snakemake tiny__sft`."]),
        ("tinny", ["tinny: no rule has this name. Did you mean 'tiny'?"]),
        ("-n tiny__stf", ["tiny__stf: no rule has this name. Did you mean 'tiny__sft'?"]),
        ("--dry-run tiny__stf", ["tiny__stf: no rule has this name. Did you mean 'tiny__sft'?"]),
        ("tiny tiny__long --cores 2", []),
        ("--profile tinny", []),  # an option's value
        ("--config scale=mini", []),
        ("something", []),  # a file that a rule of the user's may make
        ("", []),
    ],
)
def test_a_wrong_name_is_named_with_the_right_one(typed: str, said: list[str]) -> None:
    assert list(mistaken(typed.split(), RULES, REFS)) == said

"""slurm/site.yaml is read as specs are: what is wrong is reported with its line, what is allowed, and the repair."""

from pathlib import Path

import pytest

from stages.cluster import site
from stages.cluster.site import Site
from stages.errors import SpecError, SpecErrors

ROOT = Path(__file__).resolve().parents[3]


def load(root: Path, text: str) -> Site:
    (root / "slurm").mkdir()
    (root / "slurm" / "site.yaml").write_text(text)
    return site.load(root)


def test_without_the_file_slurms_own_defaults_hold(tmp_path: Path) -> None:
    assert site.load(tmp_path) == load(tmp_path, "{}\n") == Site()


def test_the_file_that_every_project_has_is_read_and_its_nulls_are_slurms_own_defaults(tmp_path: Path) -> None:
    text = (ROOT / site.FILE).read_text()
    assert "account: null\n" in text
    assert load(tmp_path, text) == Site()


def test_every_key_has_its_line_in_the_file(tmp_path: Path) -> None:
    lines = (ROOT / site.FILE).read_text().splitlines()
    assert {line.partition(":")[0] for line in lines if line and line[0] not in "# -"} == set(site.RawSite.model_fields)


def test_what_it_says_is_taken_in_plain_units(tmp_path: Path) -> None:
    text = "account: lab\npartition: cpu\ngpu_partition: h100\ngpu: gpu:h100\nmax_time: 24 h\nrequeue_before: 90 s\n"
    found = load(tmp_path, text + "qos: long\nconstraint: ib\nextra: [--exclusive, --reservation=course]\n")
    assert (found.account, found.gpu, found.max_time, found.requeue_before) == ("lab", "gpu:h100", 1440, 90)
    assert (found.qos, found.constraint, found.extra) == ("long", "ib", ("--exclusive", "--reservation=course"))
    assert (found.partition_of(gpus=0), found.partition_of(gpus=8)) == ("cpu", "h100")


def test_gpu_jobs_go_where_all_jobs_go_unless_told_otherwise(tmp_path: Path) -> None:
    assert load(tmp_path, "partition: main\n").partition_of(gpus=2) == "main"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nacount: lab\n", r"slurm/site.yaml:2: acount: found the unknown key 'acount'.*Did you mean 'account'"),
        ("max_time: 24\n", r"slurm/site.yaml:1: max_time: found '24'; allowed: a time, from 1 min to 8_784 h"),
        ("requeue_before: 5 GB\n", r"site.yaml:1: requeue_before: found '5 GB'; allowed: .*5 min. Use the unit 's'"),
        ("max_time: 1 h\nrequeue_before: 60 min\n", r"site.yaml:2: requeue_before: found 3600 s; allowed: less than"),
        ("gpu: nvidia tesla\n", r"site.yaml:1: gpu: found 'nvidia tesla'"),
        ("gpu: gpu:8\n", r"site.yaml:1: gpu: found 'gpu:8'.*as many GPUs as its node has ranks"),
        ("account: lab\npartition: cpu, long\n", r"site.yaml:2: partition: found 'cpu, long'.*joined by commas"),
        ("extra: --exclusive\n", r"site.yaml:1: extra: found '--exclusive'; allowed: .*list"),
        ("extra:\n- --exclusive\n- -x n1\n", r"site.yaml:3: extra.1: found '-x n1'; allowed: one sbatch option"),
        ("extra: [--mem=4G]\n", r"extra.0: found '--mem=4G'; .* This is set by `memory` of a stage"),
        (
            "extra: [--open-mode=truncate]\n",
            r"extra.0: found '--open-mode=truncate'; .* set by nothing: a job that is put",
        ),
        ("extra: [--part=big]\n", r"extra.0: found '--part=big'; .* set by the key `partition`"),
        ("extra: [--array=1-3]\n", r"extra.0: found '--array=1-3'; .* set by nothing: a stage is one job"),
        ("extra: [--hold]\n", r"extra.0: found '--hold'; .* set by nothing: a held job never starts"),
        ("extra: [--wait]\n", r"extra.0: found '--wait'; .* set by nothing: Snakemake submits the next job meanwhile"),
        ("extra: [--clusters=b]\n", r"extra.0: found '--clusters=b'; .* set by nothing: jobs are looked for on one"),
        ("extra: [--ntasks-per-node=4]\n", r"extra.0: found '--ntasks-per-node=4'; .* set by nothing: one process"),
        ("extra: ['--x=$(reboot) y']\n", r"allowed: one sbatch option such as --exclusive"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_repair(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load(tmp_path, text)


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors) as found:
        load(tmp_path, "max_time: soon\nqos: [long]\n")
    assert [error.where.line for error in found.value.errors] == [1, 2]

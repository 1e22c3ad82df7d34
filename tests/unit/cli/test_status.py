"""What `stages status` says of boxes that run, wait or have failed, on a laptop and on a cluster, on one screen.

Slurm is a stand-in that prints what `squeue` printed; tests/slurm asks the real one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.commands.status import print_status
from stages.errors import UsageError
from stages.spec.project import Project
from stages.store import attempts, partials
from stages.store.layout import Layout
from stages.train.stopping import NonFiniteError, StoppedError
from tests import shipped
from tests.edits import edit
from tests.unit.cli.status_lines import Squeue, row, said

ROOT = Path(__file__).resolve().parents[3]


def test_pipelines_of_which_nothing_was_run_take_a_line_each(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys)
    assert row(text, "toy ") == "toy missing all 3: not run yet"
    assert row(text, "data") == "data missing all 3: not prepared yet"


def test_of_one_pipeline_its_stages_and_the_corpora_that_they_read_are_told(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(toy / "specs")
    shipped.copy(toy)
    told = [one["stage"] for one in json.loads(said(capsys, named="kimi_vl_seed004", as_json=True))]
    assert told[:3] == ["kimi_vl/text_pretrain", "kimi_vl/vit_coca", "kimi_vl/vit_align"]
    assert "kimi_vl_seed004/joint_cooldown" in told
    assert "kimi_vl/joint_cooldown" not in told
    assert "data/pairs" in told
    assert "data/reasoning" not in told, "only ouro reads it"
    with pytest.raises(UsageError, match="no pipeline 'toys'; there are: kimi_vl, "):
        print_status("mini", ("toys",), deep=False, failed=False, as_json=False)


def test_a_running_stage_says_its_step_and_when_it_ends(
    toy: Path, runs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs("toy/first", 100)
    assert re.match(
        r"toy/first running step 100 of 400, (30|29) s left; process \d+ on host ", row(said(capsys), "toy/")
    )


def test_a_job_is_named_with_its_nodes_and_a_waiting_one_with_its_id(
    toy: Path, squeue: Squeue, capsys: pytest.CaptureFixture[str]
) -> None:
    squeue("12 RUNNING rule_toy__first 1:00:00 n[1-32]\n13 PENDING rule_toy__release 1:00:00 ")
    text = said(capsys)
    assert row(text, "toy/first") == "toy/first running job 12 on n[1-32]"
    assert row(text, "toy/release") == "toy/release pending job 13 waits in the queue (Priority)"
    assert "1 pending, 1 running" in text


def test_a_waiting_job_of_another_scale_is_not_taken_for_this_ones(
    toy: Path, squeue: Squeue, capsys: pytest.CaptureFixture[str]
) -> None:
    squeue("13 PENDING rule_toy__first 1:00:00 ")
    (toy / "bin/scontrol").write_text("#!/bin/sh\necho snakemake results/.markers/paper/data/prose.abc\n")
    (toy / "bin/scontrol").chmod(0o755)
    assert row(said(capsys), "toy ") == "toy missing all 3: not run yet"


def test_what_did_not_finish_is_asked_for_and_only_runs_are_there(
    runs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs("toy/first", 100)
    unprepared = "not prepared: tokenizer, code, prose"
    assert said(capsys, failed=True) == f"no stage has failed or was stopped; 1 running; {unprepared}\n"


def test_a_job_that_was_put_back_into_the_queue_waits_though_its_lease_still_counts(
    toy: Path, squeue: Squeue, runs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs("toy/first", 100)
    squeue("12 PENDING rule_toy__first 1:00:00 ")
    assert "pending job 12 waits in the queue (Priority); goes on from step 100" in row(said(capsys), "toy/first")


def test_a_failed_stage_says_why_where_it_goes_on_where_its_log_is_and_what_to_type(
    toy: Path, runs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    layout, key = Layout(toy, "mini"), Project.load(toy).keys("mini")["toy/first"]
    with pytest.raises(RuntimeError), attempts.start(layout, "toy/first", key, {}):
        raise RuntimeError("the loss is not a number")
    text = said(capsys, code=1)
    assert row(text, "toy/first") == "toy/first FAILED see below"
    assert text.split("FAILED toy/first: ")[1].splitlines()[:3] == [
        "RuntimeError: the loss is not a number",
        f"  log: results/.runs/{key}/log.txt",
        "  next: stages run toy/first --scale mini",
    ]
    assert said(capsys, code=1, failed=True).startswith("FAILED toy/first: RuntimeError")


def test_what_a_rerun_would_meet_again_asks_for_another_spec(
    toy: Path, squeue: Squeue, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, key = Layout(toy, "mini"), Project.load(toy).keys("mini")["toy/first"]
    with pytest.raises(NonFiniteError), attempts.start(layout, "toy/first", key, {}):
        raise NonFiniteError("loss is nan.", 27)
    squeue("")
    text = said(capsys, code=1, failed=True)
    assert text.startswith("FAILED toy/first at step 27: loss is nan.\n")
    assert "next: change the spec, since a rerun ends the same way; it is named by: stages show toy/first" in text


def test_a_stopped_stage_says_from_which_step_it_goes_on_and_each_path_once(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, key = Layout(toy, "mini"), Project.load(toy).keys("mini")["toy/first"]
    with attempts.start(layout, "toy/first", key, {}) as attempt:
        made = partials.save(partials.path(attempt, 36), lambda folder: (folder / "state").touch())
        attempt.fail(StoppedError(f"toy/first: stopped after step 36, resumable from {made}."))
    text = said(capsys)
    assert row(text, "toy/first") == "toy/first stopped goes on from step 36; see below"
    assert "1 stopped" in text
    assert text.split("stopped toy/first: ")[1].splitlines()[:2] == [
        "stopped after step 36.",
        f"  goes on from results/.runs/{key}/attempt-0001/partial-000000036",
    ]


def test_a_stage_that_its_job_did_not_come_to_has_failed_with_what_the_job_printed(
    toy: Path, squeue: Squeue, capsys: pytest.CaptureFixture[str]
) -> None:
    key = Project.load(toy).keys("mini")["toy/first"]
    log = toy / "results/.slurm/rule_toy__first/12.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"output: results/.markers/mini/toy/first.{key}\nstages: toy/first: 3 ranks on 2 nodes\n")
    squeue("")
    (shown,) = json.loads(said(capsys, code=1, failed=True, as_json=True))
    assert (shown["state"], shown["why"]) == ("failed", "toy/first: 3 ranks on 2 nodes")
    assert (shown["log"], shown["command"]) == (
        "results/.slurm/rule_toy__first/12.log",
        "snakemake --profile slurm toy__first",
    )


def test_a_pipe_among_the_jobs_logs_hangs_nobody(toy: Path, squeue: Squeue, capsys: pytest.CaptureFixture[str]) -> None:
    log = toy / "results/.slurm/rule_toy__first/12.log"
    log.parent.mkdir(parents=True)
    os.mkfifo(log)
    squeue("")
    assert said(capsys, failed=True) == "no stage has failed or was stopped; not prepared: tokenizer, code, prose\n"


def test_what_a_job_of_another_spec_printed_is_past(
    toy: Path, squeue: Squeue, capsys: pytest.CaptureFixture[str]
) -> None:
    log = toy / "results/.slurm/rule_toy__first/12.log"
    log.parent.mkdir(parents=True)
    log.write_text("output: results/.markers/mini/toy/first.00000000000000000000000000000000\nstages: no\n")
    squeue("")
    assert said(capsys, failed=True) == "no stage has failed or was stopped; not prepared: tokenizer, code, prose\n"


def test_when_slurm_does_not_answer_what_lies_on_disk_is_told(
    toy: Path, squeue: Squeue, capsys: pytest.CaptureFixture[str]
) -> None:
    squeue("")
    (toy / "bin/squeue").write_text("#!/bin/sh\necho Unable to contact slurm controller >&2\nexit 1\n")
    assert "without" not in said(capsys), "Slurm's commands are installed, and nobody uses them"
    (toy / "results/.slurm").mkdir(parents=True)
    assert "without the jobs that wait: " in said(capsys)


@pytest.mark.parametrize("width", [80, 100])
def test_all_that_ships_fits_a_screen(
    toy: Path, width: int, squeue: Squeue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(toy / "specs")
    shipped.copy(toy)
    monkeypatch.setattr("stages.commands.status.WIDTH", width)
    squeue("12 RUNNING rule_ouro__stable_1 1:00:00 n[1-32]\n13 PENDING rule_kimi_vl__vit_coca 1:00:00 ")
    lines = said(capsys).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24
    assert row("\n".join(lines), "ouro/stable_1") == "ouro/stable_1 running job 12 on n[1-32]"


def test_neither_status_nor_emit_waits_for_torch(toy: Path) -> None:
    code = (
        "import sys; from stages.commands.status import print_status; from stages.commands.emit import print_script; "
        "print_status('mini', (), False, False, False); print_script('toy/first', 'mini', None); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONPATH": str(ROOT)})


def test_results_that_dvc_has_recorded_are_named_where_they_are_missing(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_status("mini", (), deep=False, failed=False, as_json=False)
    assert "dvc pull" not in capsys.readouterr().out
    (toy / "dvc.lock").write_text("stages:\n  toy__first:\n    outs:\n    - path: results/mini/toy/first\n")
    print_status("mini", (), deep=False, failed=False, as_json=False)
    assert "1 result that is missing is recorded in dvc.lock: `dvc pull` fetches" in capsys.readouterr().out


def test_a_run_that_goes_on_under_the_key_of_an_earlier_spec_is_named(
    toy: Path, runs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs("toy/first", 100)
    edit(toy / "specs/toy/pipeline.yaml", "beta2: 0.95", "beta2: 0.9")
    text = said(capsys)
    assert row(text, "toy ") == "toy missing all 3: not run yet"
    told = row(text, "toy/first:")
    assert re.match(r"toy/first: process \d+ on host .* still runs .*, step 100 of 400\)", told)
    first, second, *_ = json.loads(said(capsys, as_json=True))
    assert (first["other_runs"], second["other_runs"]) == ([told], [])
    assert "toy/first:" not in said(capsys, named="toy/release")

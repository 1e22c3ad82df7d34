"""What rules ask of the workflow, in the main process and in a job's own; who goes first when cores are few."""

import os
import shutil
from pathlib import Path

import pytest

from stages.cluster.slurm import Job
from stages.errors import SpecError, UsageError, UserError
from stages.spec.project import Project
from stages.store import files, markers
from stages.sync import adoption, drivers, graph, saved_graph, workflow, write
from stages.sync.graph import urgencies
from tests.edits import edit
from tests.unit.spec import small_project

ROOT = Path(__file__).resolve().parents[3]


def test_a_parent_goes_before_its_children_and_a_corpus_before_its_readers() -> None:
    loaded = graph.load(ROOT, Project.load(ROOT), "mini")
    found = urgencies(loaded)
    for ref, stage in loaded.stages.items():
        for name in (*stage.parents, *graph.corpora(stage, loaded)):
            assert found[name] > found[ref]


def test_the_longest_chain_goes_first() -> None:
    found = urgencies(graph.load(ROOT, Project.load(ROOT), "mini"))
    assert found["ouro/thinking_2_6b"] == 0
    assert (
        found["ouro/warmup"] == 9
    )  # stable I, upcycle, stable II, annealing, LongCT, mid-training, Ouro, SFT, Thinking
    assert found["ouro/warmup"] > found["llama31_1m/base"] > found["kimi_vl/text_pretrain"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one's own whose cluster has a reservation."""
    monkeypatch.setenv(saved_graph.GRAPH, "graph.json")
    small_project.write(tmp_path)
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm/site.yaml").write_text("extra: [--reservation=spring]\n")
    (tmp_path / "rules").mkdir()
    write.sync(tmp_path, Project.load(tmp_path), "mini")
    return tmp_path


def test_a_jobs_own_process_sees_what_the_main_process_worked_out(project: Path) -> None:
    (project / "given").mkdir()
    main = workflow.open_main(project, {"scale": "mini", "releases": "given"}, quiet=True)
    shutil.rmtree(project / "specs/toy")  # no spec is read again
    job = workflow.open_job(project, {"scale": "mini", "releases": "given"})
    assert job == main
    assert job.marker("toy/first") == f"results/.markers/mini/toy/first.{main.keys['toy/first']}"


def test_a_folder_of_released_models_that_is_not_there_is_refused_before_anything_runs(project: Path) -> None:
    with pytest.raises(UsageError, match=r"--config releases: .*/given is not a folder"):
        workflow.open_main(project, {"releases": "given"}, quiet=True)


def test_a_jobs_own_process_leaves_markers_alone(project: Path) -> None:
    main = workflow.open_main(project, {}, quiet=True)
    marker = project / main.marker("toy/first")
    marker.parent.mkdir(parents=True)
    marker.touch()
    workflow.open_job(project, {})
    assert marker.exists()
    workflow.open_main(project, {}, quiet=True)
    assert not marker.exists(), "nothing is done, and the main process says so"


def test_a_dry_run_has_no_jobs_and_writes_nothing_for_them(project: Path) -> None:
    flow = workflow.open_main(project, {}, quiet=True, dry=True)
    assert flow.undone
    assert not list((project / "results").rglob("*"))


def test_where_markers_cannot_be_set_a_dry_run_is_told_what_writes_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise files.WriteError("markers: cannot be written (Read-only file system).")

    monkeypatch.setattr(markers, "refresh", refuse)
    with pytest.raises(files.WriteError, match=r"Read-only .* a dry run too; `stages status` tells what is to be run"):
        workflow.open_main(project, {}, quiet=True, dry=True)


@pytest.mark.parametrize(
    ("here", "told"),
    [((), "2 results that are missing are"), (("first",), "1 result that is missing is"), (("first", "code"), None)],
)
def test_what_dvc_has_recorded_is_pulled_rather_than_trained_again(
    project: Path, here: tuple[str, ...], told: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a fresh clone. What lies here, and may be damaged or of other specs, is another matter."""
    recorded = {"first": "results/mini/toy/first", "code": "results/mini/data/code"}
    paths = "".join(f"    - path: {path}\n" for path in (*recorded.values(), "results/small/toy/second"))
    (project / "dvc.lock").write_text(f"stages:\n  any:\n    outs:\n{paths}")
    for name in here:
        (project / recorded[name]).mkdir(parents=True)
    workflow.open_main(project, {}, quiet=False)
    _, *lines = capsys.readouterr().err.splitlines()
    rest = "recorded in dvc.lock: `dvc pull` fetches from a remote, before anything is trained again; where the remote "
    assert [line[: len(f"{told} {rest}")] for line in lines] == ([] if told is None else [f"{told} {rest}"])


def test_a_jobs_own_process_needs_a_main_process(project: Path) -> None:
    with pytest.raises(UserError, match=r"graph.json: not there, so this job's Snakemake has ended"):
        workflow.open_job(project, {})


def test_a_job_sees_its_own_main_process_after_an_edit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody edits a spec and looks with `snakemake -n`, while jobs of a driver wait in the queue."""
    main = workflow.open_main(project, {}, quiet=True)
    own = os.environ[saved_graph.GRAPH]
    spec = project / "specs/toy/pipeline.yaml"
    edit(spec, "beta2: 0.95", "beta2: 0.9")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    later = workflow.open_main(project, {}, quiet=True)
    assert later.marker("toy/first") != main.marker("toy/first")
    monkeypatch.setenv(saved_graph.GRAPH, own)
    assert workflow.open_job(project, {}) == main


def test_only_what_goes_to_slurm_asks_slurm(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = workflow.open_main(project, {}, quiet=True)
    monkeypatch.setattr(adoption.slurm, "jobs", lambda root: [Job("7", "RUNNING", "toy__first", "n1", None, root)])
    always = "--open-mode=append --reservation=spring"
    assert flow.options("toy/first", "slurm") == f"{always} --dependency=afterany:7"
    monkeypatch.setattr(adoption.slurm, "jobs", lambda root: pytest.fail("Slurm was asked"))
    for executor in ("local", "dryrun", "slurm-jobstep", None):
        assert workflow.open_job(project, {}).options("toy/first", executor) == always


def test_what_was_asked_for_and_is_not_done_is_named_by_rule(project: Path) -> None:
    flow = workflow.open_main(project, {}, quiet=True)
    assert workflow.unfinished(flow, {"toy__first", "toy"}) == [
        "toy/first is missing: not run yet", "Start Snakemake again.",
    ]  # fmt: skip
    assert workflow.unfinished(flow, {"toy"}) == []
    assert workflow.unfinished(workflow.open_job(project, {}), {"toy__first"}) == []


def test_where_no_pipeline_can_be_read_nothing_is_left_to_run(project: Path) -> None:
    edit(project / "specs/toy/pipeline.yaml", "pipeline: toy\n", "")
    with pytest.raises(SpecError, match=r"^specs/toy/pipeline\.yaml:1: pipeline: found nothing; allowed: 'toy'\."):
        workflow.open_main(project, {}, quiet=True)


def test_the_closing_table_names_stages_unless_everything_was_asked_for(project: Path) -> None:
    flow = workflow.open_main(project, {}, quiet=True)
    every = {graph.rule_name(ref) for ref in flow.published}
    assert workflow.asked_for(flow, {"toy__first", "toy", "data__math"}) == ["toy/first"]
    assert workflow.asked_for(flow, every) == []


def test_a_call_by_dvc_waits_for_the_snakemake_of_a_dvc_that_was_killed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def in_the_way(folder: Path, output: str, inputs: set[str]) -> drivers.Driver | None:
        asked.append((folder, output, inputs))
        return None if len(asked) > 2 else drivers.Driver("here", "", 7, 1.0)

    monkeypatch.setattr(workflow.drivers, "in_the_way", in_the_way)
    monkeypatch.setattr(drivers.time, "sleep", lambda seconds: None)
    flow = workflow.open_main(project, {"deep": "toy__second"}, quiet=True)
    above = {flow.marker("toy/first"), *map(flow.data_marker, flow.corpora_of["toy/second"])}
    assert asked == [(project / ".snakemake", flow.marker("toy/second"), above)] * 3
    assert capsys.readouterr().err.count("toy/second: waiting for snakemake, process 7 on host here") == 1
    workflow.open_main(project, {}, quiet=True)
    assert len(asked) == 3, "it is reported, and nobody has to wait"


def test_what_a_machine_refuses_snakemake_is_asked_before_jobs_start_and_notes_in_a_dry_run_too(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(workflow.machine_needs, "refuse_unreadable_notes", asked.append)
    monkeypatch.setattr(workflow.machine_needs, "refuse_full_disk", lambda root: asked.append(f"disk of {root}"))
    workflow.open_main(project, {}, quiet=True, dry=True)
    assert asked == [project]
    workflow.open_main(project, {}, quiet=True)
    assert asked == [project, project, f"disk of {project}"]

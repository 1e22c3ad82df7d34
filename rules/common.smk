# What every rule is made of. Outputs are markers named by key: they exist exactly when the result is done, so
# existence alone decides what is run, and no input's modification time counts.
import shlex
import sys


def done(ref, reader=None):
    """Needed by `reader`, unless its own result stands and only this one is to be rebuilt."""
    return ancient(FLOW.marker(ref)) if reader is None or FLOW.waits(reader, ref) else []


def weights(ref, reader):
    """Needed as a parent is: it holds the weights that a parent only points at."""
    return done(ref, reader)


def checked(ref):
    """No file: a finding of `stages check` stops Snakemake when a job is about to be planned, in a dry run too."""

    def refused(wildcards):
        FLOW.refuse(ref)
        return []

    return refused


def marker(ref):
    return FLOW.marker(ref)


def prepared(name, reader):
    return ancient(FLOW.data_marker(name)) if FLOW.waits(reader, name) else []


def data_marker(name):
    return FLOW.data_marker(name)


def corpora(ref):
    return [prepared(name, ref) for name in FLOW.corpora_of[ref]]


def thread_count(ref):
    return FLOW.threads_of[ref]


def job_resources(name):
    """What a job asks for. Which jobs it has to wait for is looked up when it is about to be submitted."""

    def options(wildcards):
        return FLOW.options(name, getattr(workflow.executor_plugin, "name", None))

    return {**FLOW.resources_of[name], "slurm_extra": options}


def urgency(name):
    return FLOW.urgency_of[name]


# Read by the shell: the project, its Python and a folder of releases may lie below folders with blanks in their names.
PYTHON = shlex.quote(sys.executable)
RELEASES = f"--releases {shlex.quote(FLOW.releases)}" if FLOW.releases else ""


rule stage:
    output:
        "results/.markers/base/stage",
    params:
        ref="",
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} -m stages run {params.ref:q} --scale {FLOW.scale:q} --marker {output:q} "
        "{RELEASES}"


rule corpus:
    output:
        "results/.markers/base/corpus",
    params:
        name="",
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} -m stages data {params.name:q} --scale {FLOW.scale:q} "
        "--marker {output:q}"

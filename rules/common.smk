# What every rule is made of. Outputs are markers named by key: they exist exactly when the result is done, so
# existence alone decides what is run, and no input's modification time counts.


def done(ref):
    return ancient(FLOW.marker(ref))


def marker(ref):
    return FLOW.marker(ref)


def prepared(name):
    return ancient(FLOW.data_marker(name))


def data_marker(name):
    return FLOW.data_marker(name)


def corpora(ref):
    return [prepared(name) for name in FLOW.corpora_of[ref]]


def thread_count(ref):
    return FLOW.threads_of[ref]


def memory(ref):
    return FLOW.memory_of[ref]


def minutes(ref):
    return FLOW.minutes_of[ref]


def urgency(name):
    return FLOW.urgency_of[name]


RELEASES = f"--releases {FLOW.releases}" if FLOW.releases else ""


rule stage:
    output:
        "results/.markers/base/stage",
    params:
        ref="",
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable} -m stages run {params.ref} --scale {FLOW.scale} {RELEASES}"


rule corpus:
    output:
        "results/.markers/base/corpus",
    params:
        name="",
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable} -m stages data {params.name} --scale {FLOW.scale}"

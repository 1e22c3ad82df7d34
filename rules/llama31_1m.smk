# Written by `stages sync` from specs/llama31_1m; edit the specs instead.


rule llama31_1m:
    input:
        done("llama31_1m/base"),
        done("llama31_1m/cpt_256k"),
        done("llama31_1m/cpt_512k"),
        done("llama31_1m/cpt_1m"),
        done("llama31_1m/sft_32k"),
        done("llama31_1m/sft_256k"),
        done("llama31_1m/sft_1m"),
        done("llama31_1m/instruct"),
        page("llama31_1m"),


use rule stage as llama31_1m__base with:
    input:
        checked("llama31_1m/base"),
        corpora("llama31_1m/base"),
    output:
        marker("llama31_1m/base"),
    params:
        ref="llama31_1m/base",
    threads: thread_count("llama31_1m/base")
    priority: urgency("llama31_1m/base")
    resources:
        **job_resources("llama31_1m/base"),


use rule stage as llama31_1m__cpt_256k with:
    input:
        checked("llama31_1m/cpt_256k"),
        done("llama31_1m/base", "llama31_1m/cpt_256k"),
        corpora("llama31_1m/cpt_256k"),
    output:
        marker("llama31_1m/cpt_256k"),
    params:
        ref="llama31_1m/cpt_256k",
    threads: thread_count("llama31_1m/cpt_256k")
    priority: urgency("llama31_1m/cpt_256k")
    resources:
        **job_resources("llama31_1m/cpt_256k"),


use rule stage as llama31_1m__cpt_512k with:
    input:
        checked("llama31_1m/cpt_512k"),
        done("llama31_1m/cpt_256k", "llama31_1m/cpt_512k"),
        corpora("llama31_1m/cpt_512k"),
    output:
        marker("llama31_1m/cpt_512k"),
    params:
        ref="llama31_1m/cpt_512k",
    threads: thread_count("llama31_1m/cpt_512k")
    priority: urgency("llama31_1m/cpt_512k")
    resources:
        **job_resources("llama31_1m/cpt_512k"),


use rule stage as llama31_1m__cpt_1m with:
    input:
        checked("llama31_1m/cpt_1m"),
        done("llama31_1m/cpt_512k", "llama31_1m/cpt_1m"),
        corpora("llama31_1m/cpt_1m"),
    output:
        marker("llama31_1m/cpt_1m"),
    params:
        ref="llama31_1m/cpt_1m",
    threads: thread_count("llama31_1m/cpt_1m")
    priority: urgency("llama31_1m/cpt_1m")
    resources:
        **job_resources("llama31_1m/cpt_1m"),


use rule stage as llama31_1m__sft_32k with:
    input:
        checked("llama31_1m/sft_32k"),
        done("llama31_1m/cpt_1m", "llama31_1m/sft_32k"),
        corpora("llama31_1m/sft_32k"),
    output:
        marker("llama31_1m/sft_32k"),
    params:
        ref="llama31_1m/sft_32k",
    threads: thread_count("llama31_1m/sft_32k")
    priority: urgency("llama31_1m/sft_32k")
    resources:
        **job_resources("llama31_1m/sft_32k"),


use rule stage as llama31_1m__sft_256k with:
    input:
        checked("llama31_1m/sft_256k"),
        done("llama31_1m/sft_32k", "llama31_1m/sft_256k"),
        corpora("llama31_1m/sft_256k"),
    output:
        marker("llama31_1m/sft_256k"),
    params:
        ref="llama31_1m/sft_256k",
    threads: thread_count("llama31_1m/sft_256k")
    priority: urgency("llama31_1m/sft_256k")
    resources:
        **job_resources("llama31_1m/sft_256k"),


use rule stage as llama31_1m__sft_1m with:
    input:
        checked("llama31_1m/sft_1m"),
        done("llama31_1m/sft_256k", "llama31_1m/sft_1m"),
        corpora("llama31_1m/sft_1m"),
    output:
        marker("llama31_1m/sft_1m"),
    params:
        ref="llama31_1m/sft_1m",
    threads: thread_count("llama31_1m/sft_1m")
    priority: urgency("llama31_1m/sft_1m")
    resources:
        **job_resources("llama31_1m/sft_1m"),


use rule stage as llama31_1m__instruct with:
    input:
        checked("llama31_1m/instruct"),
        done("llama31_1m/sft_1m", "llama31_1m/instruct"),
        corpora("llama31_1m/instruct"),
    output:
        marker("llama31_1m/instruct"),
    params:
        ref="llama31_1m/instruct",
    threads: thread_count("llama31_1m/instruct")
    priority: urgency("llama31_1m/instruct")
    resources:
        **job_resources("llama31_1m/instruct"),

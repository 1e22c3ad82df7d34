# Written by `stages sync` from specs/llama31_1m_seed001; edit the specs instead.


rule llama31_1m_seed001:
    input:
        done("llama31_1m/base"),
        done("llama31_1m/cpt_256k"),
        done("llama31_1m/cpt_512k"),
        done("llama31_1m/cpt_1m"),
        done("llama31_1m_seed001/sft_1m"),
        done("llama31_1m_seed001/sft_256k"),
        done("llama31_1m_seed001/sft_32k"),
        done("llama31_1m_seed001/instruct"),
        page("llama31_1m_seed001"),


use rule stage as llama31_1m_seed001__sft_1m with:
    input:
        checked("llama31_1m_seed001/sft_1m"),
        done("llama31_1m/cpt_1m", "llama31_1m_seed001/sft_1m"),
        corpora("llama31_1m_seed001/sft_1m"),
    output:
        marker("llama31_1m_seed001/sft_1m"),
    params:
        ref="llama31_1m_seed001/sft_1m",
    threads: thread_count("llama31_1m_seed001/sft_1m")
    priority: urgency("llama31_1m_seed001/sft_1m")
    resources:
        **job_resources("llama31_1m_seed001/sft_1m"),


use rule stage as llama31_1m_seed001__sft_256k with:
    input:
        checked("llama31_1m_seed001/sft_256k"),
        done("llama31_1m_seed001/sft_1m", "llama31_1m_seed001/sft_256k"),
        corpora("llama31_1m_seed001/sft_256k"),
    output:
        marker("llama31_1m_seed001/sft_256k"),
    params:
        ref="llama31_1m_seed001/sft_256k",
    threads: thread_count("llama31_1m_seed001/sft_256k")
    priority: urgency("llama31_1m_seed001/sft_256k")
    resources:
        **job_resources("llama31_1m_seed001/sft_256k"),


use rule stage as llama31_1m_seed001__sft_32k with:
    input:
        checked("llama31_1m_seed001/sft_32k"),
        done("llama31_1m_seed001/sft_256k", "llama31_1m_seed001/sft_32k"),
        corpora("llama31_1m_seed001/sft_32k"),
    output:
        marker("llama31_1m_seed001/sft_32k"),
    params:
        ref="llama31_1m_seed001/sft_32k",
    threads: thread_count("llama31_1m_seed001/sft_32k")
    priority: urgency("llama31_1m_seed001/sft_32k")
    resources:
        **job_resources("llama31_1m_seed001/sft_32k"),


use rule stage as llama31_1m_seed001__instruct with:
    input:
        checked("llama31_1m_seed001/instruct"),
        done("llama31_1m_seed001/sft_32k", "llama31_1m_seed001/instruct"),
        corpora("llama31_1m_seed001/instruct"),
    output:
        marker("llama31_1m_seed001/instruct"),
    params:
        ref="llama31_1m_seed001/instruct",
    threads: thread_count("llama31_1m_seed001/instruct")
    priority: urgency("llama31_1m_seed001/instruct")
    resources:
        **job_resources("llama31_1m_seed001/instruct"),

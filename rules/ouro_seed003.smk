# Written by `stages sync` from specs/ouro_seed003; edit the specs instead.


rule ouro_seed003:
    input:
        done("ouro/warmup"),
        done("ouro_seed003/keep_1_4b"),
        done("ouro_seed003/upcycle_2_6b"),
        done("ouro_seed003/stable_2_1_4b"),
        done("ouro_seed003/ct_anneal_1_4b"),
        done("ouro_seed003/longct_1_4b"),
        done("ouro_seed003/midtrain_1_4b"),
        done("ouro_seed003/ouro_1_4b"),
        done("ouro_seed003/reasoning_sft_1_4b"),
        done("ouro_seed003/thinking_1_4b"),
        done("ouro_seed003/stable_2_2_6b"),
        done("ouro_seed003/ct_anneal_2_6b"),
        done("ouro_seed003/longct_2_6b"),
        done("ouro_seed003/midtrain_2_6b"),
        done("ouro_seed003/ouro_2_6b"),
        done("ouro_seed003/reasoning_sft_2_6b"),
        done("ouro_seed003/thinking_2_6b"),
        page("ouro_seed003"),


use rule stage as ouro_seed003__keep_1_4b with:
    input:
        checked("ouro_seed003/keep_1_4b"),
        done("ouro/warmup", "ouro_seed003/keep_1_4b"),
        corpora("ouro_seed003/keep_1_4b"),
    output:
        marker("ouro_seed003/keep_1_4b"),
    params:
        ref="ouro_seed003/keep_1_4b",
    threads: thread_count("ouro_seed003/keep_1_4b")
    priority: urgency("ouro_seed003/keep_1_4b")
    resources:
        **job_resources("ouro_seed003/keep_1_4b"),


use rule stage as ouro_seed003__upcycle_2_6b with:
    input:
        checked("ouro_seed003/upcycle_2_6b"),
        done("ouro/warmup", "ouro_seed003/upcycle_2_6b"),
        corpora("ouro_seed003/upcycle_2_6b"),
    output:
        marker("ouro_seed003/upcycle_2_6b"),
    params:
        ref="ouro_seed003/upcycle_2_6b",
    threads: thread_count("ouro_seed003/upcycle_2_6b")
    priority: urgency("ouro_seed003/upcycle_2_6b")
    resources:
        **job_resources("ouro_seed003/upcycle_2_6b"),


use rule stage as ouro_seed003__stable_2_1_4b with:
    input:
        checked("ouro_seed003/stable_2_1_4b"),
        done("ouro_seed003/keep_1_4b", "ouro_seed003/stable_2_1_4b"),
        weights("ouro/warmup", "ouro_seed003/stable_2_1_4b"),
        corpora("ouro_seed003/stable_2_1_4b"),
    output:
        marker("ouro_seed003/stable_2_1_4b"),
    params:
        ref="ouro_seed003/stable_2_1_4b",
    threads: thread_count("ouro_seed003/stable_2_1_4b")
    priority: urgency("ouro_seed003/stable_2_1_4b")
    resources:
        **job_resources("ouro_seed003/stable_2_1_4b"),


use rule stage as ouro_seed003__ct_anneal_1_4b with:
    input:
        checked("ouro_seed003/ct_anneal_1_4b"),
        done("ouro_seed003/stable_2_1_4b", "ouro_seed003/ct_anneal_1_4b"),
        corpora("ouro_seed003/ct_anneal_1_4b"),
    output:
        marker("ouro_seed003/ct_anneal_1_4b"),
    params:
        ref="ouro_seed003/ct_anneal_1_4b",
    threads: thread_count("ouro_seed003/ct_anneal_1_4b")
    priority: urgency("ouro_seed003/ct_anneal_1_4b")
    resources:
        **job_resources("ouro_seed003/ct_anneal_1_4b"),


use rule stage as ouro_seed003__longct_1_4b with:
    input:
        checked("ouro_seed003/longct_1_4b"),
        done("ouro_seed003/ct_anneal_1_4b", "ouro_seed003/longct_1_4b"),
        corpora("ouro_seed003/longct_1_4b"),
    output:
        marker("ouro_seed003/longct_1_4b"),
    params:
        ref="ouro_seed003/longct_1_4b",
    threads: thread_count("ouro_seed003/longct_1_4b")
    priority: urgency("ouro_seed003/longct_1_4b")
    resources:
        **job_resources("ouro_seed003/longct_1_4b"),


use rule stage as ouro_seed003__midtrain_1_4b with:
    input:
        checked("ouro_seed003/midtrain_1_4b"),
        done("ouro_seed003/longct_1_4b", "ouro_seed003/midtrain_1_4b"),
        corpora("ouro_seed003/midtrain_1_4b"),
    output:
        marker("ouro_seed003/midtrain_1_4b"),
    params:
        ref="ouro_seed003/midtrain_1_4b",
    threads: thread_count("ouro_seed003/midtrain_1_4b")
    priority: urgency("ouro_seed003/midtrain_1_4b")
    resources:
        **job_resources("ouro_seed003/midtrain_1_4b"),


use rule stage as ouro_seed003__ouro_1_4b with:
    input:
        checked("ouro_seed003/ouro_1_4b"),
        done("ouro_seed003/midtrain_1_4b", "ouro_seed003/ouro_1_4b"),
        corpora("ouro_seed003/ouro_1_4b"),
    output:
        marker("ouro_seed003/ouro_1_4b"),
    params:
        ref="ouro_seed003/ouro_1_4b",
    threads: thread_count("ouro_seed003/ouro_1_4b")
    priority: urgency("ouro_seed003/ouro_1_4b")
    resources:
        **job_resources("ouro_seed003/ouro_1_4b"),


use rule stage as ouro_seed003__reasoning_sft_1_4b with:
    input:
        checked("ouro_seed003/reasoning_sft_1_4b"),
        done("ouro_seed003/ouro_1_4b", "ouro_seed003/reasoning_sft_1_4b"),
        corpora("ouro_seed003/reasoning_sft_1_4b"),
    output:
        marker("ouro_seed003/reasoning_sft_1_4b"),
    params:
        ref="ouro_seed003/reasoning_sft_1_4b",
    threads: thread_count("ouro_seed003/reasoning_sft_1_4b")
    priority: urgency("ouro_seed003/reasoning_sft_1_4b")
    resources:
        **job_resources("ouro_seed003/reasoning_sft_1_4b"),


use rule stage as ouro_seed003__thinking_1_4b with:
    input:
        checked("ouro_seed003/thinking_1_4b"),
        done("ouro_seed003/reasoning_sft_1_4b", "ouro_seed003/thinking_1_4b"),
        corpora("ouro_seed003/thinking_1_4b"),
    output:
        marker("ouro_seed003/thinking_1_4b"),
    params:
        ref="ouro_seed003/thinking_1_4b",
    threads: thread_count("ouro_seed003/thinking_1_4b")
    priority: urgency("ouro_seed003/thinking_1_4b")
    resources:
        **job_resources("ouro_seed003/thinking_1_4b"),


use rule stage as ouro_seed003__stable_2_2_6b with:
    input:
        checked("ouro_seed003/stable_2_2_6b"),
        done("ouro_seed003/upcycle_2_6b", "ouro_seed003/stable_2_2_6b"),
        corpora("ouro_seed003/stable_2_2_6b"),
    output:
        marker("ouro_seed003/stable_2_2_6b"),
    params:
        ref="ouro_seed003/stable_2_2_6b",
    threads: thread_count("ouro_seed003/stable_2_2_6b")
    priority: urgency("ouro_seed003/stable_2_2_6b")
    resources:
        **job_resources("ouro_seed003/stable_2_2_6b"),


use rule stage as ouro_seed003__ct_anneal_2_6b with:
    input:
        checked("ouro_seed003/ct_anneal_2_6b"),
        done("ouro_seed003/stable_2_2_6b", "ouro_seed003/ct_anneal_2_6b"),
        corpora("ouro_seed003/ct_anneal_2_6b"),
    output:
        marker("ouro_seed003/ct_anneal_2_6b"),
    params:
        ref="ouro_seed003/ct_anneal_2_6b",
    threads: thread_count("ouro_seed003/ct_anneal_2_6b")
    priority: urgency("ouro_seed003/ct_anneal_2_6b")
    resources:
        **job_resources("ouro_seed003/ct_anneal_2_6b"),


use rule stage as ouro_seed003__longct_2_6b with:
    input:
        checked("ouro_seed003/longct_2_6b"),
        done("ouro_seed003/ct_anneal_2_6b", "ouro_seed003/longct_2_6b"),
        corpora("ouro_seed003/longct_2_6b"),
    output:
        marker("ouro_seed003/longct_2_6b"),
    params:
        ref="ouro_seed003/longct_2_6b",
    threads: thread_count("ouro_seed003/longct_2_6b")
    priority: urgency("ouro_seed003/longct_2_6b")
    resources:
        **job_resources("ouro_seed003/longct_2_6b"),


use rule stage as ouro_seed003__midtrain_2_6b with:
    input:
        checked("ouro_seed003/midtrain_2_6b"),
        done("ouro_seed003/longct_2_6b", "ouro_seed003/midtrain_2_6b"),
        corpora("ouro_seed003/midtrain_2_6b"),
    output:
        marker("ouro_seed003/midtrain_2_6b"),
    params:
        ref="ouro_seed003/midtrain_2_6b",
    threads: thread_count("ouro_seed003/midtrain_2_6b")
    priority: urgency("ouro_seed003/midtrain_2_6b")
    resources:
        **job_resources("ouro_seed003/midtrain_2_6b"),


use rule stage as ouro_seed003__ouro_2_6b with:
    input:
        checked("ouro_seed003/ouro_2_6b"),
        done("ouro_seed003/midtrain_2_6b", "ouro_seed003/ouro_2_6b"),
        corpora("ouro_seed003/ouro_2_6b"),
    output:
        marker("ouro_seed003/ouro_2_6b"),
    params:
        ref="ouro_seed003/ouro_2_6b",
    threads: thread_count("ouro_seed003/ouro_2_6b")
    priority: urgency("ouro_seed003/ouro_2_6b")
    resources:
        **job_resources("ouro_seed003/ouro_2_6b"),


use rule stage as ouro_seed003__reasoning_sft_2_6b with:
    input:
        checked("ouro_seed003/reasoning_sft_2_6b"),
        done("ouro_seed003/ouro_2_6b", "ouro_seed003/reasoning_sft_2_6b"),
        corpora("ouro_seed003/reasoning_sft_2_6b"),
    output:
        marker("ouro_seed003/reasoning_sft_2_6b"),
    params:
        ref="ouro_seed003/reasoning_sft_2_6b",
    threads: thread_count("ouro_seed003/reasoning_sft_2_6b")
    priority: urgency("ouro_seed003/reasoning_sft_2_6b")
    resources:
        **job_resources("ouro_seed003/reasoning_sft_2_6b"),


use rule stage as ouro_seed003__thinking_2_6b with:
    input:
        checked("ouro_seed003/thinking_2_6b"),
        done("ouro_seed003/reasoning_sft_2_6b", "ouro_seed003/thinking_2_6b"),
        corpora("ouro_seed003/thinking_2_6b"),
    output:
        marker("ouro_seed003/thinking_2_6b"),
    params:
        ref="ouro_seed003/thinking_2_6b",
    threads: thread_count("ouro_seed003/thinking_2_6b")
    priority: urgency("ouro_seed003/thinking_2_6b")
    resources:
        **job_resources("ouro_seed003/thinking_2_6b"),

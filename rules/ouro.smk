# Written by `stages sync` from specs/ouro; edit the specs instead.


rule ouro:
    input:
        done("ouro/warmup"),
        done("ouro/stable_1"),
        done("ouro/keep_1_4b"),
        done("ouro/upcycle_2_6b"),
        done("ouro/stable_2_1_4b"),
        done("ouro/ct_anneal_1_4b"),
        done("ouro/longct_1_4b"),
        done("ouro/midtrain_1_4b"),
        done("ouro/ouro_1_4b"),
        done("ouro/reasoning_sft_1_4b"),
        done("ouro/thinking_1_4b"),
        done("ouro/stable_2_2_6b"),
        done("ouro/ct_anneal_2_6b"),
        done("ouro/longct_2_6b"),
        done("ouro/midtrain_2_6b"),
        done("ouro/ouro_2_6b"),
        done("ouro/reasoning_sft_2_6b"),
        done("ouro/thinking_2_6b"),
        page("ouro"),


use rule stage as ouro__warmup with:
    input:
        checked("ouro/warmup"),
        corpora("ouro/warmup"),
    output:
        marker("ouro/warmup"),
    params:
        ref="ouro/warmup",
    threads: thread_count("ouro/warmup")
    priority: urgency("ouro/warmup")
    resources:
        **job_resources("ouro/warmup"),


use rule stage as ouro__stable_1 with:
    input:
        checked("ouro/stable_1"),
        done("ouro/warmup", "ouro/stable_1"),
        corpora("ouro/stable_1"),
    output:
        marker("ouro/stable_1"),
    params:
        ref="ouro/stable_1",
    threads: thread_count("ouro/stable_1")
    priority: urgency("ouro/stable_1")
    resources:
        **job_resources("ouro/stable_1"),


use rule stage as ouro__keep_1_4b with:
    input:
        checked("ouro/keep_1_4b"),
        done("ouro/stable_1", "ouro/keep_1_4b"),
        corpora("ouro/keep_1_4b"),
    output:
        marker("ouro/keep_1_4b"),
    params:
        ref="ouro/keep_1_4b",
    threads: thread_count("ouro/keep_1_4b")
    priority: urgency("ouro/keep_1_4b")
    resources:
        **job_resources("ouro/keep_1_4b"),


use rule stage as ouro__upcycle_2_6b with:
    input:
        checked("ouro/upcycle_2_6b"),
        done("ouro/stable_1", "ouro/upcycle_2_6b"),
        corpora("ouro/upcycle_2_6b"),
    output:
        marker("ouro/upcycle_2_6b"),
    params:
        ref="ouro/upcycle_2_6b",
    threads: thread_count("ouro/upcycle_2_6b")
    priority: urgency("ouro/upcycle_2_6b")
    resources:
        **job_resources("ouro/upcycle_2_6b"),


use rule stage as ouro__stable_2_1_4b with:
    input:
        checked("ouro/stable_2_1_4b"),
        done("ouro/keep_1_4b", "ouro/stable_2_1_4b"),
        weights("ouro/stable_1", "ouro/stable_2_1_4b"),
        corpora("ouro/stable_2_1_4b"),
    output:
        marker("ouro/stable_2_1_4b"),
    params:
        ref="ouro/stable_2_1_4b",
    threads: thread_count("ouro/stable_2_1_4b")
    priority: urgency("ouro/stable_2_1_4b")
    resources:
        **job_resources("ouro/stable_2_1_4b"),


use rule stage as ouro__ct_anneal_1_4b with:
    input:
        checked("ouro/ct_anneal_1_4b"),
        done("ouro/stable_2_1_4b", "ouro/ct_anneal_1_4b"),
        corpora("ouro/ct_anneal_1_4b"),
    output:
        marker("ouro/ct_anneal_1_4b"),
    params:
        ref="ouro/ct_anneal_1_4b",
    threads: thread_count("ouro/ct_anneal_1_4b")
    priority: urgency("ouro/ct_anneal_1_4b")
    resources:
        **job_resources("ouro/ct_anneal_1_4b"),


use rule stage as ouro__longct_1_4b with:
    input:
        checked("ouro/longct_1_4b"),
        done("ouro/ct_anneal_1_4b", "ouro/longct_1_4b"),
        corpora("ouro/longct_1_4b"),
    output:
        marker("ouro/longct_1_4b"),
    params:
        ref="ouro/longct_1_4b",
    threads: thread_count("ouro/longct_1_4b")
    priority: urgency("ouro/longct_1_4b")
    resources:
        **job_resources("ouro/longct_1_4b"),


use rule stage as ouro__midtrain_1_4b with:
    input:
        checked("ouro/midtrain_1_4b"),
        done("ouro/longct_1_4b", "ouro/midtrain_1_4b"),
        corpora("ouro/midtrain_1_4b"),
    output:
        marker("ouro/midtrain_1_4b"),
    params:
        ref="ouro/midtrain_1_4b",
    threads: thread_count("ouro/midtrain_1_4b")
    priority: urgency("ouro/midtrain_1_4b")
    resources:
        **job_resources("ouro/midtrain_1_4b"),


use rule stage as ouro__ouro_1_4b with:
    input:
        checked("ouro/ouro_1_4b"),
        done("ouro/midtrain_1_4b", "ouro/ouro_1_4b"),
        corpora("ouro/ouro_1_4b"),
    output:
        marker("ouro/ouro_1_4b"),
    params:
        ref="ouro/ouro_1_4b",
    threads: thread_count("ouro/ouro_1_4b")
    priority: urgency("ouro/ouro_1_4b")
    resources:
        **job_resources("ouro/ouro_1_4b"),


use rule stage as ouro__reasoning_sft_1_4b with:
    input:
        checked("ouro/reasoning_sft_1_4b"),
        done("ouro/ouro_1_4b", "ouro/reasoning_sft_1_4b"),
        corpora("ouro/reasoning_sft_1_4b"),
    output:
        marker("ouro/reasoning_sft_1_4b"),
    params:
        ref="ouro/reasoning_sft_1_4b",
    threads: thread_count("ouro/reasoning_sft_1_4b")
    priority: urgency("ouro/reasoning_sft_1_4b")
    resources:
        **job_resources("ouro/reasoning_sft_1_4b"),


use rule stage as ouro__thinking_1_4b with:
    input:
        checked("ouro/thinking_1_4b"),
        done("ouro/reasoning_sft_1_4b", "ouro/thinking_1_4b"),
        corpora("ouro/thinking_1_4b"),
    output:
        marker("ouro/thinking_1_4b"),
    params:
        ref="ouro/thinking_1_4b",
    threads: thread_count("ouro/thinking_1_4b")
    priority: urgency("ouro/thinking_1_4b")
    resources:
        **job_resources("ouro/thinking_1_4b"),


use rule stage as ouro__stable_2_2_6b with:
    input:
        checked("ouro/stable_2_2_6b"),
        done("ouro/upcycle_2_6b", "ouro/stable_2_2_6b"),
        corpora("ouro/stable_2_2_6b"),
    output:
        marker("ouro/stable_2_2_6b"),
    params:
        ref="ouro/stable_2_2_6b",
    threads: thread_count("ouro/stable_2_2_6b")
    priority: urgency("ouro/stable_2_2_6b")
    resources:
        **job_resources("ouro/stable_2_2_6b"),


use rule stage as ouro__ct_anneal_2_6b with:
    input:
        checked("ouro/ct_anneal_2_6b"),
        done("ouro/stable_2_2_6b", "ouro/ct_anneal_2_6b"),
        corpora("ouro/ct_anneal_2_6b"),
    output:
        marker("ouro/ct_anneal_2_6b"),
    params:
        ref="ouro/ct_anneal_2_6b",
    threads: thread_count("ouro/ct_anneal_2_6b")
    priority: urgency("ouro/ct_anneal_2_6b")
    resources:
        **job_resources("ouro/ct_anneal_2_6b"),


use rule stage as ouro__longct_2_6b with:
    input:
        checked("ouro/longct_2_6b"),
        done("ouro/ct_anneal_2_6b", "ouro/longct_2_6b"),
        corpora("ouro/longct_2_6b"),
    output:
        marker("ouro/longct_2_6b"),
    params:
        ref="ouro/longct_2_6b",
    threads: thread_count("ouro/longct_2_6b")
    priority: urgency("ouro/longct_2_6b")
    resources:
        **job_resources("ouro/longct_2_6b"),


use rule stage as ouro__midtrain_2_6b with:
    input:
        checked("ouro/midtrain_2_6b"),
        done("ouro/longct_2_6b", "ouro/midtrain_2_6b"),
        corpora("ouro/midtrain_2_6b"),
    output:
        marker("ouro/midtrain_2_6b"),
    params:
        ref="ouro/midtrain_2_6b",
    threads: thread_count("ouro/midtrain_2_6b")
    priority: urgency("ouro/midtrain_2_6b")
    resources:
        **job_resources("ouro/midtrain_2_6b"),


use rule stage as ouro__ouro_2_6b with:
    input:
        checked("ouro/ouro_2_6b"),
        done("ouro/midtrain_2_6b", "ouro/ouro_2_6b"),
        corpora("ouro/ouro_2_6b"),
    output:
        marker("ouro/ouro_2_6b"),
    params:
        ref="ouro/ouro_2_6b",
    threads: thread_count("ouro/ouro_2_6b")
    priority: urgency("ouro/ouro_2_6b")
    resources:
        **job_resources("ouro/ouro_2_6b"),


use rule stage as ouro__reasoning_sft_2_6b with:
    input:
        checked("ouro/reasoning_sft_2_6b"),
        done("ouro/ouro_2_6b", "ouro/reasoning_sft_2_6b"),
        corpora("ouro/reasoning_sft_2_6b"),
    output:
        marker("ouro/reasoning_sft_2_6b"),
    params:
        ref="ouro/reasoning_sft_2_6b",
    threads: thread_count("ouro/reasoning_sft_2_6b")
    priority: urgency("ouro/reasoning_sft_2_6b")
    resources:
        **job_resources("ouro/reasoning_sft_2_6b"),


use rule stage as ouro__thinking_2_6b with:
    input:
        checked("ouro/thinking_2_6b"),
        done("ouro/reasoning_sft_2_6b", "ouro/thinking_2_6b"),
        corpora("ouro/thinking_2_6b"),
    output:
        marker("ouro/thinking_2_6b"),
    params:
        ref="ouro/thinking_2_6b",
    threads: thread_count("ouro/thinking_2_6b")
    priority: urgency("ouro/thinking_2_6b")
    resources:
        **job_resources("ouro/thinking_2_6b"),

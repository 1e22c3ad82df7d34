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


use rule stage as ouro__warmup with:
    input:
        corpora("ouro/warmup"),
    output:
        marker("ouro/warmup"),
    params:
        ref="ouro/warmup",
    threads: thread_count("ouro/warmup")
    priority: urgency("ouro/warmup")
    resources:
        mem_mb=memory("ouro/warmup"),
        runtime=minutes("ouro/warmup"),


use rule stage as ouro__stable_1 with:
    input:
        done("ouro/warmup"),
        corpora("ouro/stable_1"),
    output:
        marker("ouro/stable_1"),
    params:
        ref="ouro/stable_1",
    threads: thread_count("ouro/stable_1")
    priority: urgency("ouro/stable_1")
    resources:
        mem_mb=memory("ouro/stable_1"),
        runtime=minutes("ouro/stable_1"),


use rule stage as ouro__keep_1_4b with:
    input:
        done("ouro/stable_1"),
        corpora("ouro/keep_1_4b"),
    output:
        marker("ouro/keep_1_4b"),
    params:
        ref="ouro/keep_1_4b",
    threads: thread_count("ouro/keep_1_4b")
    priority: urgency("ouro/keep_1_4b")
    resources:
        mem_mb=memory("ouro/keep_1_4b"),
        runtime=minutes("ouro/keep_1_4b"),


use rule stage as ouro__upcycle_2_6b with:
    input:
        done("ouro/stable_1"),
        corpora("ouro/upcycle_2_6b"),
    output:
        marker("ouro/upcycle_2_6b"),
    params:
        ref="ouro/upcycle_2_6b",
    threads: thread_count("ouro/upcycle_2_6b")
    priority: urgency("ouro/upcycle_2_6b")
    resources:
        mem_mb=memory("ouro/upcycle_2_6b"),
        runtime=minutes("ouro/upcycle_2_6b"),


use rule stage as ouro__stable_2_1_4b with:
    input:
        done("ouro/keep_1_4b"),
        corpora("ouro/stable_2_1_4b"),
    output:
        marker("ouro/stable_2_1_4b"),
    params:
        ref="ouro/stable_2_1_4b",
    threads: thread_count("ouro/stable_2_1_4b")
    priority: urgency("ouro/stable_2_1_4b")
    resources:
        mem_mb=memory("ouro/stable_2_1_4b"),
        runtime=minutes("ouro/stable_2_1_4b"),


use rule stage as ouro__ct_anneal_1_4b with:
    input:
        done("ouro/stable_2_1_4b"),
        corpora("ouro/ct_anneal_1_4b"),
    output:
        marker("ouro/ct_anneal_1_4b"),
    params:
        ref="ouro/ct_anneal_1_4b",
    threads: thread_count("ouro/ct_anneal_1_4b")
    priority: urgency("ouro/ct_anneal_1_4b")
    resources:
        mem_mb=memory("ouro/ct_anneal_1_4b"),
        runtime=minutes("ouro/ct_anneal_1_4b"),


use rule stage as ouro__longct_1_4b with:
    input:
        done("ouro/ct_anneal_1_4b"),
        corpora("ouro/longct_1_4b"),
    output:
        marker("ouro/longct_1_4b"),
    params:
        ref="ouro/longct_1_4b",
    threads: thread_count("ouro/longct_1_4b")
    priority: urgency("ouro/longct_1_4b")
    resources:
        mem_mb=memory("ouro/longct_1_4b"),
        runtime=minutes("ouro/longct_1_4b"),


use rule stage as ouro__midtrain_1_4b with:
    input:
        done("ouro/longct_1_4b"),
        corpora("ouro/midtrain_1_4b"),
    output:
        marker("ouro/midtrain_1_4b"),
    params:
        ref="ouro/midtrain_1_4b",
    threads: thread_count("ouro/midtrain_1_4b")
    priority: urgency("ouro/midtrain_1_4b")
    resources:
        mem_mb=memory("ouro/midtrain_1_4b"),
        runtime=minutes("ouro/midtrain_1_4b"),


use rule stage as ouro__ouro_1_4b with:
    input:
        done("ouro/midtrain_1_4b"),
        corpora("ouro/ouro_1_4b"),
    output:
        marker("ouro/ouro_1_4b"),
    params:
        ref="ouro/ouro_1_4b",
    threads: thread_count("ouro/ouro_1_4b")
    priority: urgency("ouro/ouro_1_4b")
    resources:
        mem_mb=memory("ouro/ouro_1_4b"),
        runtime=minutes("ouro/ouro_1_4b"),


use rule stage as ouro__reasoning_sft_1_4b with:
    input:
        done("ouro/ouro_1_4b"),
        corpora("ouro/reasoning_sft_1_4b"),
    output:
        marker("ouro/reasoning_sft_1_4b"),
    params:
        ref="ouro/reasoning_sft_1_4b",
    threads: thread_count("ouro/reasoning_sft_1_4b")
    priority: urgency("ouro/reasoning_sft_1_4b")
    resources:
        mem_mb=memory("ouro/reasoning_sft_1_4b"),
        runtime=minutes("ouro/reasoning_sft_1_4b"),


use rule stage as ouro__thinking_1_4b with:
    input:
        done("ouro/reasoning_sft_1_4b"),
        corpora("ouro/thinking_1_4b"),
    output:
        marker("ouro/thinking_1_4b"),
    params:
        ref="ouro/thinking_1_4b",
    threads: thread_count("ouro/thinking_1_4b")
    priority: urgency("ouro/thinking_1_4b")
    resources:
        mem_mb=memory("ouro/thinking_1_4b"),
        runtime=minutes("ouro/thinking_1_4b"),


use rule stage as ouro__stable_2_2_6b with:
    input:
        done("ouro/upcycle_2_6b"),
        corpora("ouro/stable_2_2_6b"),
    output:
        marker("ouro/stable_2_2_6b"),
    params:
        ref="ouro/stable_2_2_6b",
    threads: thread_count("ouro/stable_2_2_6b")
    priority: urgency("ouro/stable_2_2_6b")
    resources:
        mem_mb=memory("ouro/stable_2_2_6b"),
        runtime=minutes("ouro/stable_2_2_6b"),


use rule stage as ouro__ct_anneal_2_6b with:
    input:
        done("ouro/stable_2_2_6b"),
        corpora("ouro/ct_anneal_2_6b"),
    output:
        marker("ouro/ct_anneal_2_6b"),
    params:
        ref="ouro/ct_anneal_2_6b",
    threads: thread_count("ouro/ct_anneal_2_6b")
    priority: urgency("ouro/ct_anneal_2_6b")
    resources:
        mem_mb=memory("ouro/ct_anneal_2_6b"),
        runtime=minutes("ouro/ct_anneal_2_6b"),


use rule stage as ouro__longct_2_6b with:
    input:
        done("ouro/ct_anneal_2_6b"),
        corpora("ouro/longct_2_6b"),
    output:
        marker("ouro/longct_2_6b"),
    params:
        ref="ouro/longct_2_6b",
    threads: thread_count("ouro/longct_2_6b")
    priority: urgency("ouro/longct_2_6b")
    resources:
        mem_mb=memory("ouro/longct_2_6b"),
        runtime=minutes("ouro/longct_2_6b"),


use rule stage as ouro__midtrain_2_6b with:
    input:
        done("ouro/longct_2_6b"),
        corpora("ouro/midtrain_2_6b"),
    output:
        marker("ouro/midtrain_2_6b"),
    params:
        ref="ouro/midtrain_2_6b",
    threads: thread_count("ouro/midtrain_2_6b")
    priority: urgency("ouro/midtrain_2_6b")
    resources:
        mem_mb=memory("ouro/midtrain_2_6b"),
        runtime=minutes("ouro/midtrain_2_6b"),


use rule stage as ouro__ouro_2_6b with:
    input:
        done("ouro/midtrain_2_6b"),
        corpora("ouro/ouro_2_6b"),
    output:
        marker("ouro/ouro_2_6b"),
    params:
        ref="ouro/ouro_2_6b",
    threads: thread_count("ouro/ouro_2_6b")
    priority: urgency("ouro/ouro_2_6b")
    resources:
        mem_mb=memory("ouro/ouro_2_6b"),
        runtime=minutes("ouro/ouro_2_6b"),


use rule stage as ouro__reasoning_sft_2_6b with:
    input:
        done("ouro/ouro_2_6b"),
        corpora("ouro/reasoning_sft_2_6b"),
    output:
        marker("ouro/reasoning_sft_2_6b"),
    params:
        ref="ouro/reasoning_sft_2_6b",
    threads: thread_count("ouro/reasoning_sft_2_6b")
    priority: urgency("ouro/reasoning_sft_2_6b")
    resources:
        mem_mb=memory("ouro/reasoning_sft_2_6b"),
        runtime=minutes("ouro/reasoning_sft_2_6b"),


use rule stage as ouro__thinking_2_6b with:
    input:
        done("ouro/reasoning_sft_2_6b"),
        corpora("ouro/thinking_2_6b"),
    output:
        marker("ouro/thinking_2_6b"),
    params:
        ref="ouro/thinking_2_6b",
    threads: thread_count("ouro/thinking_2_6b")
    priority: urgency("ouro/thinking_2_6b")
    resources:
        mem_mb=memory("ouro/thinking_2_6b"),
        runtime=minutes("ouro/thinking_2_6b"),

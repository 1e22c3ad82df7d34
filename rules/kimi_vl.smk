# Written by `stages sync` from specs/kimi_vl; edit the specs instead.


rule kimi_vl:
    input:
        done("kimi_vl/text_pretrain"),
        done("kimi_vl/vit_coca"),
        done("kimi_vl/vit_align"),
        done("kimi_vl/joint_pretrain"),
        done("kimi_vl/joint_cooldown"),
        done("kimi_vl/joint_longctx"),
        page("kimi_vl"),


use rule stage as kimi_vl__text_pretrain with:
    input:
        checked("kimi_vl/text_pretrain"),
        corpora("kimi_vl/text_pretrain"),
    output:
        marker("kimi_vl/text_pretrain"),
    params:
        ref="kimi_vl/text_pretrain",
    threads: thread_count("kimi_vl/text_pretrain")
    priority: urgency("kimi_vl/text_pretrain")
    resources:
        **job_resources("kimi_vl/text_pretrain"),


use rule stage as kimi_vl__vit_coca with:
    input:
        checked("kimi_vl/vit_coca"),
        corpora("kimi_vl/vit_coca"),
    output:
        marker("kimi_vl/vit_coca"),
    params:
        ref="kimi_vl/vit_coca",
    threads: thread_count("kimi_vl/vit_coca")
    priority: urgency("kimi_vl/vit_coca")
    resources:
        **job_resources("kimi_vl/vit_coca"),


use rule stage as kimi_vl__vit_align with:
    input:
        checked("kimi_vl/vit_align"),
        done("kimi_vl/text_pretrain", "kimi_vl/vit_align"),
        done("kimi_vl/vit_coca", "kimi_vl/vit_align"),
        corpora("kimi_vl/vit_align"),
    output:
        marker("kimi_vl/vit_align"),
    params:
        ref="kimi_vl/vit_align",
    threads: thread_count("kimi_vl/vit_align")
    priority: urgency("kimi_vl/vit_align")
    resources:
        **job_resources("kimi_vl/vit_align"),


use rule stage as kimi_vl__joint_pretrain with:
    input:
        checked("kimi_vl/joint_pretrain"),
        done("kimi_vl/text_pretrain", "kimi_vl/joint_pretrain"),
        done("kimi_vl/vit_align", "kimi_vl/joint_pretrain"),
        corpora("kimi_vl/joint_pretrain"),
    output:
        marker("kimi_vl/joint_pretrain"),
    params:
        ref="kimi_vl/joint_pretrain",
    threads: thread_count("kimi_vl/joint_pretrain")
    priority: urgency("kimi_vl/joint_pretrain")
    resources:
        **job_resources("kimi_vl/joint_pretrain"),


use rule stage as kimi_vl__joint_cooldown with:
    input:
        checked("kimi_vl/joint_cooldown"),
        done("kimi_vl/joint_pretrain", "kimi_vl/joint_cooldown"),
        corpora("kimi_vl/joint_cooldown"),
    output:
        marker("kimi_vl/joint_cooldown"),
    params:
        ref="kimi_vl/joint_cooldown",
    threads: thread_count("kimi_vl/joint_cooldown")
    priority: urgency("kimi_vl/joint_cooldown")
    resources:
        **job_resources("kimi_vl/joint_cooldown"),


use rule stage as kimi_vl__joint_longctx with:
    input:
        checked("kimi_vl/joint_longctx"),
        done("kimi_vl/joint_cooldown", "kimi_vl/joint_longctx"),
        corpora("kimi_vl/joint_longctx"),
    output:
        marker("kimi_vl/joint_longctx"),
    params:
        ref="kimi_vl/joint_longctx",
    threads: thread_count("kimi_vl/joint_longctx")
    priority: urgency("kimi_vl/joint_longctx")
    resources:
        **job_resources("kimi_vl/joint_longctx"),

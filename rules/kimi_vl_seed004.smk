# Written by `stages sync` from specs/kimi_vl_seed004; edit the specs instead.


rule kimi_vl_seed004:
    input:
        done("kimi_vl/text_pretrain"),
        done("kimi_vl/vit_coca"),
        done("kimi_vl/vit_align"),
        done("kimi_vl/joint_pretrain"),
        done("kimi_vl_seed004/joint_cooldown"),
        done("kimi_vl_seed004/joint_longctx"),
        page("kimi_vl_seed004"),


use rule stage as kimi_vl_seed004__joint_cooldown with:
    input:
        checked("kimi_vl_seed004/joint_cooldown"),
        done("kimi_vl/joint_pretrain", "kimi_vl_seed004/joint_cooldown"),
        corpora("kimi_vl_seed004/joint_cooldown"),
    output:
        marker("kimi_vl_seed004/joint_cooldown"),
    params:
        ref="kimi_vl_seed004/joint_cooldown",
    threads: thread_count("kimi_vl_seed004/joint_cooldown")
    priority: urgency("kimi_vl_seed004/joint_cooldown")
    resources:
        **job_resources("kimi_vl_seed004/joint_cooldown"),


use rule stage as kimi_vl_seed004__joint_longctx with:
    input:
        checked("kimi_vl_seed004/joint_longctx"),
        done("kimi_vl_seed004/joint_cooldown", "kimi_vl_seed004/joint_longctx"),
        corpora("kimi_vl_seed004/joint_longctx"),
    output:
        marker("kimi_vl_seed004/joint_longctx"),
    params:
        ref="kimi_vl_seed004/joint_longctx",
    threads: thread_count("kimi_vl_seed004/joint_longctx")
    priority: urgency("kimi_vl_seed004/joint_longctx")
    resources:
        **job_resources("kimi_vl_seed004/joint_longctx"),

# Written by `stages sync` from specs/data; edit the specs instead.


use rule corpus as data__tokenizer with:
    output:
        data_marker("tokenizer"),
    params:
        name="tokenizer",
    priority: urgency("tokenizer")
    resources:
        **job_resources("tokenizer"),


use rule corpus as data__captions with:
    input:
        prepared("tokenizer", "captions"),
    output:
        data_marker("captions"),
    params:
        name="captions",
    priority: urgency("captions")
    resources:
        **job_resources("captions"),


use rule corpus as data__clips with:
    input:
        prepared("tokenizer", "clips"),
    output:
        data_marker("clips"),
    params:
        name="clips",
    priority: urgency("clips")
    resources:
        **job_resources("clips"),


use rule corpus as data__code with:
    input:
        prepared("tokenizer", "code"),
    output:
        data_marker("code"),
    params:
        name="code",
    priority: urgency("code")
    resources:
        **job_resources("code"),


use rule corpus as data__digit_qa with:
    input:
        prepared("tokenizer", "digit_qa"),
    output:
        data_marker("digit_qa"),
    params:
        name="digit_qa",
    priority: urgency("digit_qa")
    resources:
        **job_resources("digit_qa"),


use rule corpus as data__instruct with:
    input:
        prepared("tokenizer", "instruct"),
    output:
        data_marker("instruct"),
    params:
        name="instruct",
    priority: urgency("instruct")
    resources:
        **job_resources("instruct"),


use rule corpus as data__long with:
    input:
        prepared("tokenizer", "long"),
    output:
        data_marker("long"),
    params:
        name="long",
    priority: urgency("long")
    resources:
        **job_resources("long"),


use rule corpus as data__long_instruct with:
    input:
        prepared("tokenizer", "long_instruct"),
    output:
        data_marker("long_instruct"),
    params:
        name="long_instruct",
    priority: urgency("long_instruct")
    resources:
        **job_resources("long_instruct"),


use rule corpus as data__math with:
    input:
        prepared("tokenizer", "math"),
    output:
        data_marker("math"),
    params:
        name="math",
    priority: urgency("math")
    resources:
        **job_resources("math"),


use rule corpus as data__medium_instruct with:
    input:
        prepared("tokenizer", "medium_instruct"),
    output:
        data_marker("medium_instruct"),
    params:
        name="medium_instruct",
    priority: urgency("medium_instruct")
    resources:
        **job_resources("medium_instruct"),


use rule corpus as data__pairs with:
    input:
        prepared("tokenizer", "pairs"),
    output:
        data_marker("pairs"),
    params:
        name="pairs",
    priority: urgency("pairs")
    resources:
        **job_resources("pairs"),


use rule corpus as data__prose with:
    input:
        prepared("tokenizer", "prose"),
    output:
        data_marker("prose"),
    params:
        name="prose",
    priority: urgency("prose")
    resources:
        **job_resources("prose"),


use rule corpus as data__reasoning with:
    input:
        prepared("tokenizer", "reasoning"),
    output:
        data_marker("reasoning"),
    params:
        name="reasoning",
    priority: urgency("reasoning")
    resources:
        **job_resources("reasoning"),

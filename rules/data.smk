# Written by `stages sync` from specs/data; edit the specs instead.


use rule corpus as data__tokenizer with:
    output:
        data_marker("tokenizer"),
    params:
        name="tokenizer",
    priority: urgency("tokenizer")


use rule corpus as data__captions with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("captions"),
    params:
        name="captions",
    priority: urgency("captions")


use rule corpus as data__clips with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("clips"),
    params:
        name="clips",
    priority: urgency("clips")


use rule corpus as data__code with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("code"),
    params:
        name="code",
    priority: urgency("code")


use rule corpus as data__digit_qa with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("digit_qa"),
    params:
        name="digit_qa",
    priority: urgency("digit_qa")


use rule corpus as data__instruct with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("instruct"),
    params:
        name="instruct",
    priority: urgency("instruct")


use rule corpus as data__long with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("long"),
    params:
        name="long",
    priority: urgency("long")


use rule corpus as data__long_instruct with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("long_instruct"),
    params:
        name="long_instruct",
    priority: urgency("long_instruct")


use rule corpus as data__math with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("math"),
    params:
        name="math",
    priority: urgency("math")


use rule corpus as data__medium_instruct with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("medium_instruct"),
    params:
        name="medium_instruct",
    priority: urgency("medium_instruct")


use rule corpus as data__pairs with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("pairs"),
    params:
        name="pairs",
    priority: urgency("pairs")


use rule corpus as data__prose with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("prose"),
    params:
        name="prose",
    priority: urgency("prose")


use rule corpus as data__reasoning with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("reasoning"),
    params:
        name="reasoning",
    priority: urgency("reasoning")

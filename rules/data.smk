# Written by `stages sync` from specs/data; edit the specs instead.


use rule corpus as data__tokenizer with:
    output:
        data_marker("tokenizer"),
    params:
        name="tokenizer",


use rule corpus as data__captions with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("captions"),
    params:
        name="captions",


use rule corpus as data__clips with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("clips"),
    params:
        name="clips",


use rule corpus as data__code with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("code"),
    params:
        name="code",


use rule corpus as data__digit_qa with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("digit_qa"),
    params:
        name="digit_qa",


use rule corpus as data__instruct with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("instruct"),
    params:
        name="instruct",


use rule corpus as data__long with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("long"),
    params:
        name="long",


use rule corpus as data__long_instruct with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("long_instruct"),
    params:
        name="long_instruct",


use rule corpus as data__math with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("math"),
    params:
        name="math",


use rule corpus as data__medium_instruct with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("medium_instruct"),
    params:
        name="medium_instruct",


use rule corpus as data__pairs with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("pairs"),
    params:
        name="pairs",


use rule corpus as data__prose with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("prose"),
    params:
        name="prose",


use rule corpus as data__reasoning with:
    input:
        prepared("tokenizer"),
    output:
        data_marker("reasoning"),
    params:
        name="reasoning",

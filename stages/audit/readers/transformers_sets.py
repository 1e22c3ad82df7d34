"""The data sets that a Trainer of a Python script is given: what `load_dataset` loads, and the part that is taken."""

from __future__ import annotations

import ast

from stages.audit.readers.python_source import MAX_DEPTH, Call, Source
from stages.audit.recipe import Value
from stages.printable import printable

_LOADED = ("name", "data_dir", "data_files", "split")  # of load_dataset, what divides sets of one path
_ROWS_STAY = frozenset({"map", "shuffle", "rename_column", "rename_columns", "remove_columns", "with_format", "cast"})


def sets(source: Source, trainer: Call) -> dict[str, Value]:
    """What is trained on and what is evaluated on, each as the words that load it.

    A set that is made by what is not followed has no name; where both are the same expression, its place is one.
    """
    given = {"data": trainer.argument("train_dataset"), "eval_data": trainer.argument("eval_dataset")}
    known = {figure: node for figure, node in given.items() if node is not None}
    found = {figure: _words(source, node, trainer.inside, 0) for figure, node in known.items()}
    texts = {ast.unparse(node) for node in known.values()}
    if len(known) == 2 and len(texts) == 1 and None in found.values():
        (text,) = texts
        found = dict.fromkeys(found, f"{printable(text[:60])} in {trainer.where}")
    lines = {figure: source.value(node, trainer.inside, figure).where for figure, node in known.items()}
    keys = {"data": "train_dataset", "eval_data": "eval_dataset"}
    return {figure: Value((words,), lines[figure], keys[figure]) for figure, words in found.items() if words}


def _words(source: Source, node: ast.expr, inside: str, depth: int) -> str | None:
    """The path of a set and what divides it from others of its path; None where the text does not say it."""
    written = source.written(node, inside)
    if depth > MAX_DEPTH:
        return None
    match written:
        case ast.Subscript(value=whole, slice=ast.Constant(value=str() as part)):
            base = _words(source, whole, inside, depth + 1)
            return None if base is None else f"{base} {printable(part)}"
        case ast.Call(func=ast.Name(id="load_dataset") | ast.Attribute(attr="load_dataset")):
            return _loaded(source, written, inside)
        case ast.Call(func=ast.Attribute(value=whole, attr=method)) if method in _ROWS_STAY:
            return _words(source, whole, inside, depth + 1)
        case ast.Call(func=ast.Attribute(value=whole, attr="train_test_split")):
            base = _words(source, whole, inside, depth + 1)
            return None if base is None else f"{base} divided into"
        case _:
            return None


def _loaded(source: Source, call: ast.Call, inside: str) -> str | None:
    given = [*call.args, *(one.value for one in call.keywords if one.arg in {"path", *_LOADED})]
    read = [source.value(one, inside, "load_dataset").value for one in given]
    words = [one for one in read if isinstance(one, str)]
    return " ".join(words) if words and len(words) == len(read) else None

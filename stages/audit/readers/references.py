"""A file's references to its own keys, `${model.max_seq_len}`, as OmegaConf follows them; all others stay unknown."""

from __future__ import annotations

import re
from dataclasses import replace

from stages.audit.readers.tree import Path, Tree

_NAME = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
_DEEPEST = 8  # references to references: no recipe has more
_LONGEST = 4096  # characters of what they become


def followed(tree: Tree) -> Tree:
    """The file with every reference to a scalar of its own in the scalar's place."""
    leaves = dict(tree.leaves)
    for path, leaf in tree.leaves.items():
        text = leaf.text
        for _ in range(_DEEPEST):
            if text is None or "${" not in text:
                break
            text = _once(tree, text)
        if text != leaf.text:
            leaves[path] = replace(leaf, text=text)
    return replace(tree, leaves=leaves)


def _once(tree: Tree, text: str) -> str | None:
    """One round of references; None where the whole text is one to a key without a value."""
    whole = _NAME.fullmatch(text)
    if whole is not None:
        leaf = tree.leaves.get(_path(whole[1]))
        return text if leaf is None else leaf.text

    def one(match: re.Match[str]) -> str:
        leaf = tree.leaves.get(_path(match[1]))
        return match[0] if leaf is None or leaf.text is None else leaf.text

    made = _NAME.sub(one, text)
    return made if len(made) <= _LONGEST else text


def _path(dotted: str) -> Path:
    return tuple(dotted.split("."))

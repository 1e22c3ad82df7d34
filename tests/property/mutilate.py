"""Malformed specs: the shipped files with parts removed, renamed, doubled, exchanged or replaced by nonsense."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

from stages.spec import nodes

Tree = Any
Path = tuple[str | int, ...]

# What stands where a value should: wrong units, wrong types, numbers out of all bounds, and text that is no number.
JUNK: tuple[Tree, ...] = (
    "0", "-1", "1", "1.5", "1e999999999", "1e308", "1e-308", "9" * 60, "9" * 70, "nan", ".inf", "-inf", "1/0", "0/1",
    "1/9999999999999999999", "0x10", "1__0", "1e", "５", "∞", "10⁶", "100%", "100.0000001%", "-5%", "4096 seq",
    "0 seq", "1 steps", "9999999999 steps", "8Ki", "999999999999T", "1 GB", "12 h", "3 parsecs", "current", "none",
    "identity", "fresh", "{}", "*", "a.b.c", "../../etc/passwd", "\u202e", "\x85", "é" * 300, "", True, False, None,
    [], {}, [[]], [{}], [None], {"": "x"}, {"a": {"b": [{"c": None}]}}, ["*"], [["*"]], {"release": "x"},
    {"upcycle": []}, {"from": 1}, {"*": "inherit"}, ["1", "2"], [True],
)  # fmt: skip
KEYS = ("from", "to", "kind", "family", "extends", "sources", "<<", "*", "名", "a b", "0", "true", "é")
SPELLINGS = ("-{}", "{}0", "{}000000000", "0{}", "{}T", "{} seq", "{}%", "{}e9", "1/{}")


def paths(tree: Tree, at: Path = ()) -> list[Path]:
    """Every path of a tree below its top, in order."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in entries for place in ((*at, key), *paths(value, (*at, key)))]


def at(tree: Tree, path: Path) -> Tree:
    for part in path:
        tree = tree[part]
    return tree


def copied(tree: Tree) -> Tree:
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    return [copied(value) for value in tree] if isinstance(tree, list) else tree


@st.composite
def trees(draw: st.DrawFn, tree: Tree) -> Tree:
    """A tree with one to three of its parts changed in structure or in value."""
    tree = copied(tree)
    for _ in range(draw(st.integers(1, 3))):
        places = paths(tree)
        if places:
            _change(draw, tree, draw(st.sampled_from(places)), places)
    return tree


def _change(draw: st.DrawFn, tree: Tree, path: Path, places: list[Path]) -> None:
    parent, last = at(tree, path[:-1]), path[-1]
    how = draw(st.sampled_from(["junk", "junk", "remove", "rename", "double", "exchange", "wrap", "scale", "text"]))
    if how == "junk":
        parent[last] = copied(draw(st.sampled_from(JUNK)))
    elif how == "remove":
        del parent[last]
    elif how == "rename" and isinstance(parent, dict):
        name = draw(st.sampled_from((*KEYS, str(last)[:-1], f"{last}s", str(last).upper())))
        parent[name] = parent.pop(last)
    elif how == "double" and isinstance(parent, list):
        parent.append(copied(parent[int(last)]))
    elif how == "exchange":
        parent[last] = copied(at(tree, draw(st.sampled_from(places))))
    elif how == "wrap":
        inner: Tree = parent[last]
        for _ in range(draw(st.sampled_from([1, 2, 40]))):
            inner = [inner] if draw(st.booleans()) else {"a": inner}
        parent[last] = inner
    elif how == "scale" and isinstance(parent[last], str):
        parent[last] = draw(st.sampled_from(SPELLINGS)).format(parent[last])
    else:
        parent[last] = draw(st.text(max_size=12))


@st.composite
def texts(draw: st.DrawFn, text: str) -> bytes:
    """A file's bytes with lines removed, doubled, moved or indented, or with noise among its bytes."""
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        spot = draw(st.integers(0, max(0, len(lines) - 1)))
        how = draw(st.sampled_from(["remove", "double", "move", "indent", "outdent", "insert"]))
        if not lines or how == "insert":
            lines.insert(spot, draw(st.text(max_size=20)) + "\n")
        elif how == "remove":
            del lines[spot]
        elif how == "double":
            lines.insert(spot, lines[spot])
        elif how == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(spot))
        else:
            lines[spot] = f"  {lines[spot]}" if how == "indent" else lines[spot].lstrip()
    data = "".join(lines).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.sampled_from([0, 0, 1, 4]))):
        spot = draw(st.integers(0, len(data)))
        data = data[:spot] + draw(st.binary(min_size=1, max_size=3)) + data[spot + draw(st.integers(0, 2)) :]
    return data


@st.composite
def malformed(draw: st.DrawFn, text: str) -> bytes:
    """A shipped file's text, spoilt: usually as a tree (valid YAML that means nonsense), else as text or bytes."""
    if draw(st.integers(0, 2)):
        tree = draw(trees(nodes.parse(text.encode(), "shipped").value))
        return _plain(tree).encode("utf-8", "surrogatepass")
    return draw(texts(text))


class _Dumper(yaml.SafeDumper):
    """Plain scalars stay plain, as people write them: `8Ki`, `1e-5`, `true`; no anchors for repeated parts."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _plain(tree: Tree) -> str:
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return str(text)

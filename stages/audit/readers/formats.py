"""Which reader reads a file: by its suffix, and for YAML and JSON by the keys in it.

A reader of trees takes a parsed file and its name, and gives the runs that it describes: none where the file is of
another format. The first reader that gives one counts. A reader of text takes a file's text in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from stages.audit.readers import axolotl, bridge, nanotron, olmo, text, torchtitan, transformers, tree
from stages.audit.readers.text import Source
from stages.audit.readers.tree import Tree
from stages.audit.recipe import Slip, Stage
from stages.errors import UserError

SCRIPTS = frozenset({".sh", ".bash", ".sbatch", ".slurm"})
_YAML = (nanotron.stages, bridge.stages, axolotl.stages, transformers.factory, transformers.arguments_file)
TREES: dict[str, tuple[Callable[[Tree, str], list[Stage]], ...]] = {
    ".yaml": _YAML,
    ".yml": _YAML,
    ".json": (transformers.factory, transformers.arguments_file),
}
TEXTS: dict[str, tuple[Callable[[str, str], list[Stage]], ...]] = {
    ".py": (olmo.stages, torchtitan.python_stages),
    ".toml": (torchtitan.toml_stages,),
}


def suffixes() -> frozenset[str]:
    """The suffixes of files that some reader reads."""
    return SCRIPTS | frozenset(TREES) | frozenset(TEXTS)


def read(source: Source) -> tuple[list[Stage], list[str]]:
    """The runs that a file describes, and one line for each thing in it that could not be read. Raises Unreadable."""
    suffix = source.path.suffix.lower()
    if suffix in SCRIPTS:
        return _script(source)
    content = text.text(source.path, source.name)
    if suffix in TREES:
        parsed = tree.parse(content, source.name)
        found = next((found for one in TREES[suffix] if (found := one(parsed, source.name))), [])
        return [replace(one, slips=(*one.slips, *_twice(parsed))) for one in found], []
    return next((found for one in TEXTS.get(suffix, ()) if (found := one(content, source.name))), []), []


def _twice(parsed: Tree) -> Iterator[Slip]:
    """Keys that come again with another value."""
    for path, where in parsed.twice:
        key = ".".join(map(str, path))
        yield Slip("flag-twice", where, f"{key} again, with another value", "each key once; the last one counts")


def _script(source: Source) -> tuple[list[Stage], list[str]]:
    try:
        from stages.audit.readers import megatron, shell, transformers_script
    except ImportError:
        raise UserError("shell scripts are read with the extra `audit`: pip install 'stages[audit]'.") from None
    script = shell.read(source)
    return megatron.stages(script, source.name) or transformers_script.stages(script, source.name), script.said

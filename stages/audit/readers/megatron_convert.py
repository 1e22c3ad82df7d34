"""Commands that write a model of Hugging Face as a checkpoint of Megatron: what they read, and for how many ranks.

Megatron-LM d98e8a64, tools/checkpoint/convert.py and saver_core.py (whose files are of the format `torch`, one for each
rank); Megatron-Bridge 067f987d, examples/conversion/convert_checkpoints.py (of a format that any layout loads).
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.readers import arguments
from stages.audit.readers.conversions import Conversion
from stages.audit.shell.reader import Script

_FIGURES = {"--load-dir": "pretrained", "--save-dir": "save", "--hf-model": "pretrained", "--megatron-path": "save",
            "--target-tensor-parallel-size": "tp", "--target-pipeline-parallel-size": "pp",
            "--target-expert-parallel-size": "ep"}  # fmt: skip


def conversions(script: Script) -> Iterator[Conversion]:
    """Every conversion of a script of which it is known what it writes."""
    for command in script.commands:
        _, own = arguments.split(arguments.flat(command), command.where)
        found = {_FIGURES[one.flag]: arguments.value(one, _FIGURES[one.flag]) for one in own if one.flag in _FIGURES}
        save, source = (found.pop(name, None) for name in ("save", "pretrained"))
        if save is None or source is None or not isinstance(save.value, str):
            continue
        figures = {f"converted_{name}": value for name, value in found.items() if value.value is not None}
        yield Conversion(save.value.rstrip("/"), figures | {"converted_from": source})

"""What somebody else does with an export: plain transformers, nothing of this project; every word that it says is kept.

Run as a script under another interpreter: FOLDER OUT.json [--all] [--remote-code] [INPUTS.safetensors]; `--all` reads
every folder in FOLDER.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

TEXT = "Ada has 12 pears, and 30 more."
CHAT = [
    {"role": "user", "content": "12 + 30?"},
    {"role": "assistant", "content": "<think>6</think>42"},
    {"role": "user", "content": "7?"},
]
NEW = 8  # tokens to write


class Kept(logging.Handler):
    """Messages of a logger."""

    def __init__(self) -> None:
        super().__init__(logging.INFO + 1)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def read(folder: Path, remote_code: bool, pictures: Path | None = None) -> dict[str, Any]:
    """Logits [T][V] of a text, ids of texts and chats, greedy continuations, and all warnings and log messages.

    `padded` is the continuation of the text in a batch with a shorter one, and `uncached` the same without a cache.
    `pictures` is a file of inputs with pixels in them, of which there are logits and a continuation too.
    """
    import torch
    import transformers

    more = {"trust_remote_code": True} if remote_code else {}
    kept = Kept()
    root = transformers.utils.logging.get_logger("transformers")
    for logger in (logging.getLogger(), root):
        logger.addHandler(kept)
    transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(record=True) as warned, torch.no_grad():
            warnings.simplefilter("always")
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left", **more)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", **more)
            prompt = tokenizer(TEXT, return_tensors="pt")
            chat = tokenizer.apply_chat_template(
                CHAT, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            both = tokenizer([TEXT, TEXT[:9]], return_tensors="pt", padding=True)
            seen = [prompt, chat, both] if pictures is None else [prompt, chat, both, _inputs(pictures)]
            written = [model.generate(**given, max_new_tokens=NEW)[0].tolist() for given in seen]
            uncached = model.generate(**prompt, max_new_tokens=NEW, use_cache=False)[0].tolist()
            found = {
                "version": transformers.__version__,
                "class": type(model).__name__,
                "dtype": str(model.dtype),
                "prompt": prompt["input_ids"][0].tolist(),
                "bare": tokenizer(TEXT, add_special_tokens=False)["input_ids"],
                "chat": chat["input_ids"][0].tolist(),
                "logits": model(**prompt).logits[0].float().tolist(),
                "written": written[:2],
                "padded": written[2],
                "uncached": uncached,
                "pictured": [] if pictures is None else model(**seen[3]).logits[0].float().tolist(),
                "described": written[3:],
            }
    finally:
        for logger in (logging.getLogger(), root):
            logger.removeHandler(kept)
    return found | {"said": [*kept.said, *(str(one.message) for one in warned)]}


def _inputs(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)


if __name__ == "__main__":
    _, source, out, *rest = sys.argv
    files = [Path(word) for word in rest if not word.startswith("--")]
    code = "--remote-code" in rest
    if "--all" in rest:
        made = {one.name: read(one, code, *files) for one in sorted(Path(source).iterdir())}
    else:
        made = read(Path(source), code, *files)
    Path(out).write_text(json.dumps(made))

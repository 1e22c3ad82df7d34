"""What somebody else does with an export: plain transformers, nothing of this project; every word that it says is kept.

Run as a script under another interpreter: FOLDER OUT.json [--remote-code].
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


def read(folder: Path, remote_code: bool) -> dict[str, Any]:
    """Logits [T][V] of a text, ids of texts and chats, greedy continuations, and all warnings and log messages."""
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
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", **more)
            prompt = tokenizer(TEXT, return_tensors="pt")
            chat = tokenizer.apply_chat_template(
                CHAT, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            written = [model.generate(**given, max_new_tokens=NEW)[0].tolist() for given in (prompt, chat)]
            found = {
                "version": transformers.__version__,
                "class": type(model).__name__,
                "dtype": str(model.dtype),
                "prompt": prompt["input_ids"][0].tolist(),
                "bare": tokenizer(TEXT, add_special_tokens=False)["input_ids"],
                "chat": chat["input_ids"][0].tolist(),
                "logits": model(**prompt).logits[0].float().tolist(),
                "written": written,
                "texts": [tokenizer.decode(ids, skip_special_tokens=False) for ids in written],
            }
    finally:
        for logger in (logging.getLogger(), root):
            logger.removeHandler(kept)
    return found | {"said": [*kept.said, *(str(one.message) for one in warned)]}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(read(Path(sys.argv[1]), "--remote-code" in sys.argv)))

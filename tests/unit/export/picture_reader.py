"""What somebody else does with an export that reads pictures: plain transformers and Pillow, nothing of this project.

Run as a script under another interpreter: FOLDER OUT.json PICTURE...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from reader import Kept  # type: ignore[import-not-found]  # beside this script


def read(folder: Path, pictures: list[Path]) -> dict[str, Any]:
    """Ids, patches and grids of a chat with these pictures, what is written for it, and every warning and message."""
    import logging
    import warnings

    import transformers
    from PIL import Image

    kept = Kept()
    for logger in (logging.getLogger(), transformers.utils.logging.get_logger("transformers")):
        logger.addHandler(kept)
    transformers.utils.logging.disable_progress_bar()
    opened = [Image.open(path) for path in pictures]
    content = [*({"type": "image", "image": one} for one in opened), {"type": "text", "text": "Which?"}]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        alone = transformers.AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
        both = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=True)
        given = both.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
        cut = alone(opened, return_tensors="np")
        refused = []
        for text, images in (("no place", opened), ("<image><image><image>", opened), ("<image>", None)):
            try:
                both(text=text, images=images)
            except ValueError as error:
                refused.append(str(error))
        return {
            "version": transformers.__version__,
            "ids": given["input_ids"][0].tolist(),
            "patches": cut["pixel_values"].tolist(),
            "same": bool((given["pixel_values"].numpy() == cut["pixel_values"]).all()),
            "grids": given["image_grid_hws"].tolist(),
            "written": model.generate(**given, max_new_tokens=4)[0].tolist(),
            "refused": refused,
            "said": [*kept.said, *(str(one.message) for one in warned)],
        }


if __name__ == "__main__":
    _, source, out, *files = sys.argv
    Path(out).write_text(json.dumps(read(Path(source), [Path(one) for one in files])))

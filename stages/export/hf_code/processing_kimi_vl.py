"""Text with pictures: one placeholder of a prompt becomes as many as its picture has merged blocks of patches."""

from __future__ import annotations

from typing import Any

import transformers
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin


class KimiVLProcessor(ProcessorMixin):
    """Tokenizer and image processor."""

    attributes = ["image_processor", "tokenizer"]  # noqa: RUF012
    valid_kwargs = ["chat_template", "image_token"]  # noqa: RUF012
    if int(transformers.__version__.partition(".")[0]) < 5:  # later ones read __init__ instead
        image_processor_class = "AutoImageProcessor"
        tokenizer_class = "AutoTokenizer"

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: Any = None,
        image_token: str = "<image>",
        **kwargs: Any,
    ) -> None:
        self.image_token = image_token
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    @property
    def model_input_names(self) -> list[str]:
        """What the model is given."""
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        videos: Any = None,
        audio: Any = None,
        return_tensors: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Ids, and patches where there are pictures, in the order of the placeholders of all texts.

        Raises ValueError unless there is a picture for every placeholder and none beside, and for videos and audio.
        """
        if videos is not None or audio is not None:
            raise ValueError("found videos or audio; allowed: text and pictures")
        texts = [text] if isinstance(text, str) else list(text or [])
        pictures: dict[str, Any] = {}
        grids: list[Any] = []
        if images is not None:
            pictures = dict(self.image_processor(images, return_tensors=return_tensors))
            grids = list(pictures["image_grid_hws"])
        there = sum(one.count(self.image_token) for one in texts)
        if there != len(grids):
            raise ValueError(f"found {there} of {self.image_token} in the text for {len(grids)} pictures")
        left = iter(grids)
        whole = [self._filled(one, left) for one in texts]
        return BatchFeature({**self.tokenizer(whole, return_tensors=return_tensors, **kwargs), **pictures})

    def _filled(self, text: str, left: Any) -> str:
        before, *rest = text.split(self.image_token)
        parts = [self.image_token * self.image_processor.tokens(next(left)) + one for one in rest]
        return before + "".join(parts)

"""A published tokenizer as a project has it: a folder with tokenizer.json and a chat template, and its spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from stages.commands import tokenizer as command
from stages.data.tokens import tokenizer as cutting
from stages.data.tokens import tokenizer_files
from stages.data.tokens.tokenizer_declared import declared

TEXTS = ["the cat sat on the mat and said hello", "What is 1 + 2? It is 3.", "user assistant system tool"] * 3
SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<img>")
ROLES = {"bos": "<s>", "eos": "</s>", "pad": "</s>", "turn_begin": "<|im_start|>", "turn_end": "<|im_end|>",
         "image": "<img>", "think": "<think>", "end_think": "</think>"}  # fmt: skip
CHATML = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for p in m['content'] %}{{ '<img>' if p['type'] == 'image' else p['text'] }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def trained(size: int = 0) -> Tokenizer:
    """Byte-level BPE with special tokens behind the others, made up to `size` ids; it cuts and pads, as some do."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    made.add_tokens([f"<unused{number}>" for number in range(size - made.get_vocab_size() - 7)])
    made.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    made.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    begin = (SPECIAL[0], made.token_to_id(SPECIAL[0]))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[begin])
    made.enable_truncation(8)
    made.enable_padding(length=8)
    return made


def write(
    root: Path, name: str = "mine", template: str | None = CHATML, size: int = 0, **changes: Any
) -> dict[str, Any]:
    """tokenizers/<name> and specs/tokenizers/<name>.yaml of a project; returns what the spec says."""
    folder = root / "tokenizers" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(trained(size).to_str())
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    spec = {"tokenizer": name, "source": "somebody/mine", "revision": "main", "licence": "mit",
            "path": f"tokenizers/{name}", "roles": ROLES, **changes}  # fmt: skip
    save(root, spec)
    return spec


def save(root: Path, spec: dict[str, Any]) -> None:
    path = root / "specs" / "tokenizers" / f"{spec['tokenizer']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(spec))


def opened(root: Path, template: str | None = CHATML, **changes: Any) -> cutting.Tokenizer:
    write(root, template=template, **changes)
    return declared(root, tokenizer_files.load(root, "mine", declared=False), check=False).open()


def declare(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **changes: Any) -> None:
    """Write the spec, and put into it what `stages tokenizer --accept` prints."""
    write(root, **changes)
    (root / "specs/scales").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(root)
    command.print_declaration("mine")
    path = root / "specs/tokenizers/mine.yaml"
    path.write_text(path.read_text() + capsys.readouterr().out)

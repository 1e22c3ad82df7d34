"""Which packages the code needs that runs on the device machine, and which of them such a machine may lack.

tests/unit/device/test_needs.py compares both lists with what that code imports. Nothing but the standard library is
imported here: this is what says that the rest is missing.
"""

from __future__ import annotations

from importlib.util import find_spec

# Importable names that a Python installation made for PyTorch work has.
USUAL = (
    "torch", "numpy", "safetensors", "tokenizers", "pandas", "yaml", "psutil", "filelock", "rich", "typer",
    "matplotlib", "sklearn", "pytest", "xdist", "hypothesis", "jinja2", "markupsafe",
)  # fmt: skip

# What alternatives are made of: where one is absent, its rows say so.
ALTERNATIVES = ("transformers", "accelerate", "torchtitan", "apex", "flash_attn")

# Importable name -> package. `make device-packages` fetches these at the versions of constraints.txt.
CARRIED = {
    "pydantic": "pydantic",
    "pydantic_core": "pydantic_core",
    "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection",
    "blake3": "blake3",
}


def missing() -> list[str]:
    """Importable names that are not here."""
    return [name for name in (*USUAL, *CARRIED) if find_spec(name) is None]


if __name__ == "__main__":
    print(*CARRIED.values())

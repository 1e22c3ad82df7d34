"""The folder of a released model: which of its files are read, that they lie in it, and the digest that names it.

Read are config.json, the index of the weights, and the files that it names. Pickles, code and whatever else lies there
is not opened. A link may lead to another place in the folder, or into `blobs` of the hub's cache, where that keeps the
files of its snapshots; one that leads anywhere else is refused.
"""

from __future__ import annotations

from pathlib import Path

from stages.errors import UserError
from stages.models import hf_files
from stages.models.release_config import CONFIG
from stages.store.digest import digest_bytes, measure

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
SNAPSHOTS, BLOBS = "snapshots", "blobs"


def read_files(folder: Path) -> list[Path]:
    """The files that are read, config.json first. Raises UserError for one that is missing, no file, or a link out."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no folder; it should hold a released model in Hugging Face layout.")
    _refuse_out(folder, folder / CONFIG)
    _refuse_out(folder, folder / hf_files.INDEX)
    for path in sorted(folder.glob("*.safetensors")):
        _refuse_out(folder, path)
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder / CONFIG}: not there, or no regular file, so this is not a Hugging Face model folder."
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        found = f"found {', '.join(pickles)}, which would have to be unpickled" if pickles else "found none"
        raise UserError(
            f"{folder}: {found}; allowed: weights in *.safetensors. Take the release's safetensors files, or "
            "convert the weights with transformers (save_pretrained writes them)."
        )
    weights = hf_files.listed(folder)
    for path in weights:
        if not path.is_file():  # a pipe would be waited for
            raise UserError(f"{path}: not a regular file. Take the folder anew.")
    index = [folder / hf_files.INDEX] if (folder / hf_files.INDEX).exists() else []
    return [folder / CONFIG, *index, *weights]


def digest(folder: Path) -> str:
    """What specs/releases declares: blake3 over the names, sizes and digests of the files that are read.

    Every file is read in full. Raises UserError as `read_files` does, and where the disk refuses.
    """
    lines = []
    for path in read_files(folder):
        try:
            found = measure(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
        lines.append(f"{path.name} {found.size} {found.blake3}\n")
    return digest_bytes("".join(lines).encode())


def _refuse_out(folder: Path, path: Path) -> None:
    if not path.is_symlink():
        return
    home = folder.resolve()
    allowed = [home] + ([home.parent.parent / BLOBS] if home.parent.name == SNAPSHOTS else [])
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise UserError(f"{path}: a link that leads nowhere. Take the folder anew.") from None
    if not any(real.is_relative_to(one) for one in allowed):
        raise UserError(
            f"{path}: a link out of the folder, to {real}; allowed: files in it. Copy the file there, or download with "
            "`huggingface-cli download --local-dir`."
        )

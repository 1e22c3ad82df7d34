"""The folder of a released model: which of its files are read, that they lie in it, and the digest that names it.

Read are config.json, the index of the weights, and the files that it names. Pickles, code and whatever else lies there
is not opened. A link may lead to another place in the folder, or into `blobs` of the hub's cache, where that keeps the
files of its snapshots; one that leads anywhere else is refused.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from stages.errors import UserError
from stages.models import hf_files
from stages.models.release_config import CONFIG
from stages.store import lfs
from stages.store.contained import contained
from stages.store.digest import digest_bytes, measure

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
GGUF, ADAPTER = ".gguf", "adapter_config.json"
SNAPSHOTS, BLOBS = "snapshots", "blobs"


def read_files(folder: Path) -> list[Path]:
    """The files that are read, config.json first. Raises UserError for one that is missing, no file, or a link out."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no folder; it should contain a released model in Hugging Face layout.")
    if (folder / ADAPTER).is_symlink() or (folder / ADAPTER).exists():
        raise UserError(
            f"{folder / ADAPTER}: an adapter (LoRA), which transformers adds to the weights where peft is installed; "
            "allowed: a model's own weights. Merge the two (peft's merge_and_unload) and give the folder that came of "
            "it, or move the adapter's files away."
        )
    if _inside(folder, folder / CONFIG) is None:
        like = sorted(path.name for path in folder.iterdir() if path.name.lower() == CONFIG or path.suffix == GGUF)
        found = f" (found {', '.join(like)})" if like else ""
        raise UserError(f"{folder / CONFIG}: not there{found}, so this is not a Hugging Face model folder.")
    index = [] if _inside(folder, folder / hf_files.INDEX) is None else [folder / hf_files.INDEX]
    for path in sorted(folder.glob("*.safetensors")):
        _inside(folder, path)
    if not any(folder.glob("*.safetensors")):
        others = sorted(path.name for path in folder.iterdir() if path.suffix in (*PICKLES, GGUF))
        why = "of llama.cpp" if all(name.endswith(GGUF) for name in others) else "which would have to be unpickled"
        found = f"found {', '.join(others)}, {why}" if others else "found none"
        raise UserError(
            f"{folder}: {found}; allowed: weights in *.safetensors. Take the release's safetensors files, or "
            "convert the weights with transformers (save_pretrained writes them)."
        )
    read = [folder / CONFIG, *index, *hf_files.listed(folder)]
    for path in read:
        with suppress(OSError):  # of a file that cannot be read, whoever reads it
            lfs.refuse(path, str(path), path.stat().st_size)
    return read


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


Stamps = dict[Path, tuple[int, int, int, int]]


def stamps(folder: Path) -> Stamps:
    """What changes when one of the files that are read is written to, or another one takes its place."""
    found = {path: path.stat() for path in read_files(folder)}
    return {path: (one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for path, one in found.items()}


def refuse_changed(folder: Path, before: Stamps) -> None:
    """Raise UserError where a file changed since `before`: its digest was compared then, and its tensors read later."""
    now = stamps(folder)
    if changed := sorted(path.name for path in before.keys() | now.keys() if before.get(path) != now.get(path)):
        raise UserError(
            f"{folder}: {', '.join(changed)} changed while it was read, so what came in is not known. Give the "
            "same command again when the folder is complete."
        )


def beside(folder: Path, name: str) -> Path | None:
    """A file of the folder that is no weights, where there is one. Raises UserError for a link out, and for no file."""
    return _inside(folder, folder / name)


def _inside(folder: Path, path: Path) -> Path | None:
    """A file of the folder, or of the hub's cache around it; None where there is none."""
    home = folder.resolve()
    blobs = [home.parent.parent / BLOBS] if home.parent.name == SNAPSHOTS else []
    repair = "Copy the file there, or download with `huggingface-cli download --local-dir`."
    return contained(path, [home, *blobs], str(path), repair)

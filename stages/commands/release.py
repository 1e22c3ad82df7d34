"""`stages release NAME FOLDER`: a released model's folder, checked against specs/releases/NAME.yaml."""

from __future__ import annotations

import re
from pathlib import Path

from stages.commands.find_project import find_root
from stages.errors import UsageError, UserError
from stages.spec.files import Files
from stages.spec.loader_data import load_release
from stages.spec.schema.releases import RawReleaseFiles

CLASS = re.compile("[A-Za-z_][A-Za-z0-9_]*")  # what is printed goes into a spec: anything else could be further lines
SHOWN = 200  # characters


def check(name: str, folder: Path) -> None:
    """Raise UserError unless the folder is the declared one. Stages that import it compare its config.json."""
    declared = _load(name)
    _refuse_no_folder(folder)
    from stages.models import release_files  # loads torch: what is mistyped was answered by now

    found = release_files.digest(folder)
    if found != declared.digest:
        raise UserError(
            f"specs/releases/{name}.yaml: digest: declared {declared.digest or 'none'}, found {found} in {folder}. "
            f"Give the folder that was accepted, or run `stages release {name} {folder} --accept`."
        )
    print(f"{name}: {folder} is what specs/releases/{name}.yaml declares")


def print_declaration(name: str, folder: Path) -> None:
    """Print the lines that would declare a folder, and nothing else."""
    _load(name, declared=False)
    _refuse_no_folder(folder)
    from stages.models import release_files
    from stages.store import json_file

    digest = release_files.digest(folder)
    try:
        config = json_file.read(folder / "config.json")
    except json_file.JsonFileError as error:
        raise UserError(f"{error}. Download the folder's config.json again.") from None
    named = config.get("architectures") if isinstance(config, dict) else None
    if not (isinstance(named, list) and len(named) == 1 and isinstance(named[0], str) and CLASS.fullmatch(named[0])):
        raise UserError(
            f"{folder / 'config.json'}: architectures: found {repr(named)[:SHOWN]}; allowed: one name, that of a class "
            "of transformers. Download the folder again."
        )
    print(f"# for specs/releases/{name}.yaml, with the source, revision and licence that it is from:")
    print(f'architecture: {named[0]}\ndigest: "{digest}"')


def _refuse_no_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no folder; it should contain a released model in Hugging Face layout.")


def _load(name: str, declared: bool = True) -> RawReleaseFiles:
    root = find_root()
    files = Files(root)
    names = files.names("releases")
    if name not in names:
        if Path(name).is_dir():
            raise UsageError(
                f"{name}: found a folder; allowed: first the name of a release in specs/releases "
                f"({', '.join(names) or 'none yet'}), then its folder. Type `stages release NAME {name}`."
            )
        raise UsageError(
            f"no release {name!r} in specs/releases; there are: {', '.join(names) or 'none'}. Write "
            f"{Path(name).stem}.yaml there, with release, source, revision and licence."
        )
    return load_release(files, name, declared)

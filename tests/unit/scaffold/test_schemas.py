"""The specs of a new project name the schemas that lie beside them, each the one that it fits."""

import errno
import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from stages.scaffold import contents, schemas
from stages.store import files
from tests.faults.disks import Failing, using
from tests.unit.spec.spec_files import as_an_editor_reads


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("schemas")
    schemas.write(root / schemas.FOLDER)
    return root


@pytest.mark.parametrize("example", contents.examples())
def test_every_spec_fits_the_schema_that_its_first_line_names(example: str, project: Path) -> None:
    specs = {path: text for path, text in contents.example(example).items() if path.startswith("specs/")}
    assert specs
    for path, content in specs.items():
        found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", content.decode())
        assert found, path
        schema = json.loads(((project / path).parent / found[1]).resolve().read_text())
        errors = list(Draft202012Validator(schema).iter_errors(as_an_editor_reads(content.decode())))
        assert errors == [], (path, found[1])


def test_what_is_no_spec_stays_as_it_is() -> None:
    for path in ("README.md", "data/tales.txt", "slurm/site.yaml", "specs/notes.md"):
        assert schemas.named(path, b"text") == b"text"


@pytest.mark.parametrize("at", [1, 40])
def test_where_the_disk_is_full_no_folder_is_left(tmp_path: Path, at: int) -> None:
    with using(Failing(at, errno.ENOSPC, lasting=False)), pytest.raises(files.WriteError):
        schemas.write(tmp_path / "new")
    assert not (tmp_path / "new").exists()

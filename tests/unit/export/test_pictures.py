"""Pictures go into an export as they went into training: by AutoProcessor, without this project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from stages.data.decode import Size, pixels
from stages.data.loading.sample import as_image
from stages.export import config
from stages.export.result import Result
from stages.models.vision_packing import pack
from stages.spec.resolved_models import MoonViTModel, ProjectorModel
from stages.store import stage_record
from tests.unit.export import ours
from tests.unit.export.conftest import Export
from tests.unit.export.test_remote_code import INTERPRETERS

SCRIPT = Path(__file__).with_name("picture_reader.py")


def drawn(folder: Path) -> list[Path]:
    """A colour picture that is too large, and one with transparency that is turned by its EXIF."""
    random = np.random.default_rng(0)
    made = [folder / "colour.png", folder / "turned.png"]
    Image.fromarray(random.integers(0, 256, (90, 333, 3), dtype=np.uint8)).save(made[0])
    turned = Image.fromarray(random.integers(0, 256, (20, 11, 4), dtype=np.uint8))
    turned.getexif()[0x0112] = 6
    turned.save(made[1], exif=turned.getexif())
    return made


def in_colour(folder: Path, scratch: Path) -> Path:
    """The same export, as of a model that was trained on pictures with colours."""
    copied = scratch / "coloured"
    shutil.copytree(folder, copied)
    config = copied / "preprocessor_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "pixels": "rgb"}))
    return copied


def read(python: Path, folder: Path, scratch: Path, pictures: list[Path]) -> dict[str, object]:
    out = scratch / "out.json"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**kept, "HF_HOME": str(scratch / "hf"), "OMP_NUM_THREADS": "1"}
    command = [python, SCRIPT, folder, out, *pictures]
    subprocess.run(command, check=True, cwd=scratch, env=environment, stdin=subprocess.DEVNULL)
    found: dict[str, object] = json.loads(out.read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "rgb"), [*((which, False) for which in INTERPRETERS), (next(iter(INTERPRETERS)), True)]
)
def test_pictures_are_cut_as_for_training(
    which: str, rgb: bool, finished: Path, exported: Export, tmp_path: Path
) -> None:
    python = INTERPRETERS[which]()
    needed = "import PIL" if which.endswith("4") else "import PIL, torchvision"  # which transformers 5 asks for
    if subprocess.run([python, "-c", needed], capture_output=True, check=False).returncode:
        pytest.skip(f"{python}: {needed} fails")
    pictures = drawn(tmp_path)
    found = read(
        python, in_colour(exported("toy/joint"), tmp_path) if rgb else exported("toy/joint"), tmp_path, pictures
    )
    assert str(found["version"]).startswith(which[-1])
    assert found["said"] == []

    stage, tokens = stage_record.read(finished / "results/mini/toy/joint"), ours.tokenizer(finished)
    vit, projector = stage.modules["vit"], stage.modules["projector"]
    assert isinstance(vit, MoonViTModel)
    assert isinstance(projector, ProjectorModel)
    size = Size(vit.patch * projector.merge, vit.table * vit.patch, rgb)
    images = [as_image(pixels(path.read_bytes(), size), vit.channels).pixels for path in pictures]
    assert max(images[0].shape[:2]) == size.side, "the large one is shrunk"
    assert images[1].shape[1] > images[1].shape[0], "the other one is turned"
    patches, grids = pack(images, vit.patch)
    theirs = torch.tensor(found["patches"], dtype=torch.float32)
    assert theirs.shape == (len(patches), vit.channels, vit.patch, vit.patch)
    assert torch.equal(theirs.flatten(1), patches)
    assert found["same"]
    assert found["grids"] == [list(grid) for grid in grids]
    ids = found["ids"]
    assert isinstance(ids, list)
    assert ids.count(tokens.roles.image) == sum(rows * columns // projector.merge**2 for rows, columns in grids)
    assert ids[-1] == tokens.encode("assistant\n")[-1]
    assert isinstance(found["written"], list)
    assert len(found["written"]) > len(ids)
    assert found["refused"] == [
        "found 0 of <image> in the text for 2 pictures",
        "found 3 of <image> in the text for 2 pictures",
        "found 1 of <image> in the text for 0 pictures",
    ]


def test_its_files_name_the_code_and_the_models_figures(exported: Export) -> None:
    folder = exported("toy/joint")
    config = json.loads((folder / "config.json").read_text())
    pictures = json.loads((folder / "preprocessor_config.json").read_text())
    assert pictures["patch_size"] == config["vision_config"]["patch_size"]
    assert [pictures["merge_size"]] * 2 == config["vision_config"]["merge_kernel_size"]
    assert pictures["longest_side"] == config["vision_config"]["init_pos_emb_height"] * pictures["patch_size"]
    assert json.loads((folder / "processor_config.json").read_text())["image_token"] == "<image>"
    for where in pictures["auto_map"].values():
        module, name = where.split(".")
        assert f"class {name}(" in (folder / f"{module}.py").read_text()


def test_a_model_of_text_has_none(exported: Export) -> None:
    assert not (exported("plain/base") / "preprocessor_config.json").exists()


@pytest.mark.parametrize(("corpus", "rgb"), [("photos", True), ("scans", False)])
def test_an_export_says_whether_its_model_was_trained_on_colours(
    corpus: str, rgb: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.lineage, "lineage", lambda result: [])
    monkeypatch.setattr(config.lineage, "corpora", lambda ancestors: {corpus: "a digest"})
    declared = {"photos": SimpleNamespace(pixels="rgb"), "scans": SimpleNamespace(pixels=None)}
    assert config._colours(cast(Result, SimpleNamespace(data=SimpleNamespace(corpora=declared)))) == rgb

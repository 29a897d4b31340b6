"""The public AI-READI loader reads a synthetic bucket unchanged: same voxels, labels, splits, lateralities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from octjob.data.synthesize import SynthesisRecipe, SynthesisReport, render_volume, synthesize
from octjob.storage.file import FileStore

pytest.importorskip("aireadi_loader")
from aireadi_loader.dataloader import PatientDataset

CLASS_LABEL, LATERALITY_LABEL, HBA1C = 0, -1, 3004410
RECIPE = SynthesisRecipe(
    seed=8,
    participants={"train": 20, "val": 4, "test": 4},
    protocols=(
        "spectralis_ppol_mac_hr_oct",
        "spectralis_onh_rc_hr_oct",
        "maestro2_3d_macula_oct",
        "triton_macula_6x6_octa",
        "cirrus_mac_oct",
    ),
    geometry_scale=(0.05, 0.05, 0.05),
    transfer_syntax={"topcon_triton": "jpeg2000", "zeiss_cirrus": "rle"},
    without_oct=2,
)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, SynthesisReport]:
    folder = tmp_path_factory.mktemp("bucket")
    return f"{folder}/", synthesize(FileStore(Path(folder).as_uri()), RECIPE)


@pytest.mark.parametrize(
    ("device", "region", "protocol"),
    [
        ("Spectralis", "Macula", "spectralis_ppol_mac_hr_oct"),
        ("Spectralis", "Optic_Disc", "spectralis_onh_rc_hr_oct"),
        ("Maestro2", "Macula", "maestro2_3d_macula_oct"),
        ("Triton", "Macula_6x6", "triton_macula_6x6_octa"),
        ("Cirrus", "Macula", "cirrus_mac_oct"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_volumes_and_labels_are_those_written(
    bucket: tuple[str, SynthesisReport], device: str, region: str, protocol: str, split: str
) -> None:
    root, report = bucket
    written = {
        f"{root}{v.key}": v
        for v in report.volumes
        if v.protocol.name == protocol and v.participant.split == split
    }
    read = PatientDataset(
        root,
        split=split,
        mode="volume",
        anatomic_region=region,
        imaging_device=device,
        concept_id=CLASS_LABEL,
    )
    assert {item["path"] for item in read.visits_dict.values()} == set(written)
    assert len(read) == len(written) > 0
    for sample in (read[i] for i in range(len(read))):  # a dict within: it cannot be iterated over
        volume = written[sample["path"]]
        assert int(sample["label"]) == volume.participant.label
        np.testing.assert_array_equal(np.asarray(sample["frames"])[0], render_volume(RECIPE, volume))


def test_the_loaders_laterality_and_clinical_labels_are_those_written(
    bucket: tuple[str, SynthesisReport],
) -> None:
    root, report = bucket
    written = {f"{root}{v.key}": v for v in report.volumes}
    read = PatientDataset(root, split="train", mode="center_slice", concept_id=LATERALITY_LABEL)
    for sample in (read[i] for i in range(len(read))):
        assert int(sample["label"]) == (written[sample["path"]].laterality == "L")
    read = PatientDataset(root, split="train", mode="center_slice", concept_id=HBA1C)
    for sample in (read[i] for i in range(len(read))):
        assert float(sample["label"]) == pytest.approx(written[sample["path"]].participant.hba1c)

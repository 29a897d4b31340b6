"""A group's own data set: made-up volumes in any format, and the table that lists them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np

from doubles.aireadi_bucket import make_dicom, speckle

CLASSES = ("normal", "amd", "dme")
COLUMNS = ("path", "label", "participant", "split", "eye", "device", "site", "age")
SITES, DEVICES = ("Basel", "Lyon"), ("cirrus", "spectralis")


def nifti(x_DHW: np.ndarray, *, slope: float | None = None, intercept: float = 0) -> bytes:
    """As SimpleITK writes it: the fastest axis first. The values are stored as they are."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(x_DHW.T), np.eye(4), dtype=x_DHW.dtype)
    data = bytearray(image.to_bytes())
    if slope is not None:
        header = image.header.copy()
        header.set_data_offset(352)
        header["scl_slope"], header["scl_inter"] = slope, intercept
        data[:348] = header.binaryblock
    return bytes(data)


def nrrd_of(x_DHW: np.ndarray, encoding: str = "gzip") -> bytes:
    """Likewise."""
    space = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": np.zeros(3)}
    file = io.BytesIO()
    nrrd.write(file, x_DHW, header={"encoding": encoding, **space}, index_order="C")
    return file.getvalue()


def npy(x_DHW: np.ndarray) -> bytes:
    """As numpy writes it."""
    file = io.BytesIO()
    np.save(file, x_DHW)
    return file.getvalue()


ENCODERS: Mapping[str, Callable[[np.ndarray], bytes]] = {
    ".nii": nifti,
    ".nii.gz": lambda x_DHW: gzip.compress(nifti(x_DHW), mtime=0),
    ".nrrd": nrrd_of,
    ".npy": npy,
    ".dcm": lambda x_DHW: make_dicom(x_DHW, laterality=""),
}


def volume(number: int, label: int) -> np.ndarray:
    """(8, 12, 10) uint8; the classes differ in the brightness of the upper rows."""
    x_DHW = (speckle(seed=number) // 4).astype("u1")
    x_DHW[:, : 3 * label + 2] += 60
    return x_DHW


def rows_of(suffix: str = ".nii.gz", *, train: int = 5, val: int = 3, test: int = 0) -> list[dict[str, Any]]:
    """The table's rows for so many participants of each class, both eyes."""
    rows = []
    number = 0
    for split, count in (("train", train), ("val", val), ("test", test)):
        for label in CLASSES:
            for _ in range(count):
                number += 1
                identity = f"p{number:03}"
                for eye in "LR":
                    rows.append(
                        {
                            "path": f"scans/{identity}_{eye}{suffix}",
                            "label": label,
                            "participant": identity,
                            "split": split,
                            "eye": eye,
                            "device": DEVICES[(number + 1) % 2],
                            "site": SITES[number // 2 % 2],
                            "age": 40 + 5 * CLASSES.index(label) + number % 7,
                        }
                    )
    return rows


def write_volumes(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The files that they name."""
    for number, row in enumerate(rows):
        path = folder / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = next(s for s in sorted(ENCODERS, key=len, reverse=True) if path.name.endswith(s))
        path.write_bytes(ENCODERS[suffix](volume(number, CLASSES.index(row["label"]))))


def write_table(path: Path, rows: list[dict[str, Any]], called: Mapping[str, str] | None = None) -> Path:
    """A CSV file of them. called: its names for some of the columns."""
    called = called or {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = list(rows[0])
        writer.writerow([called.get(name, name) for name in names])
        writer.writerows([row[name] for name in names] for row in rows)
    return path


def own_data(folder: Path, suffix: str = ".nii.gz", **per_class: int) -> Path:
    """Volumes and `volumes.csv` in `folder`."""
    rows = rows_of(suffix, **per_class)
    write_volumes(folder, rows)
    return write_table(folder / "volumes.csv", rows)

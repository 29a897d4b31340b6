"""NIfTI, NRRD and NPY files give the voxels that are in them, by axes that are told and not guessed."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from doubles.aireadi_bucket import speckle
from doubles.own_volumes import ENCODERS, nifti, npy, nrrd_of
from hypothesis import given, settings
from hypothesis import strategies as st

from octjob.data.content import Content, content_of
from octjob.data.excerpt import Excerpt
from octjob.data.formats import HEAD_BYTES, FormatError, read_stored, shape_in
from octjob.errors import DataError

SHAPE = (5, 7, 11)
FORMATS = {".nii": "NIfTI", ".nii.gz": "NIfTI", ".nrrd": "NRRD", ".npy": "NPY"}
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def content(suffix: str, axes: str = "DHW") -> Content:
    found = content_of(f"scan{suffix}", axes)
    assert found is not None
    assert found.format == FORMATS[suffix]
    return found


def read(data: bytes, suffix: str, axes: str = "DHW") -> np.ndarray:
    return read_stored(Excerpt.whole(data), content(suffix, axes)).stored_DHW


def some(dtype: str = "u2") -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return np.random.default_rng(0).normal(size=SHAPE).astype(dtype)
    return speckle(SHAPE, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", FORMATS)
def test_voxels_are_those_that_were_written(suffix: str, dtype: str) -> None:
    x_DHW = some(dtype)
    found = read(ENCODERS[suffix](x_DHW), suffix)
    assert found.dtype == x_DHW.dtype
    np.testing.assert_array_equal(found, x_DHW)
    assert shape_in(ENCODERS[suffix](x_DHW)[:HEAD_BYTES], content(suffix)) == SHAPE


@pytest.mark.parametrize(
    ("suffix", "reader"),
    [
        (".nii", "NibabelReader"),
        (".nii.gz", "NibabelReader"),
        (".nrrd", "NrrdReader"),
        (".npy", "NumpyReader"),
    ],
)
def test_monais_readers_give_the_same_voxels(suffix: str, reader: str, tmp_path: Path) -> None:
    """Its first axis is the fastest for NIfTI and NRRD, as nibabel's and pynrrd's, and the first for NPY."""
    monai = pytest.importorskip("monai.data")
    data = (
        gzip.compress(nifti(some("i2"), slope=0.5, intercept=-3))
        if suffix == ".nii.gz"
        else ENCODERS[suffix](some("i2"))
    )
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(data)
    theirs = getattr(monai, reader)()
    array, _ = theirs.get_data(theirs.read(path))
    stored = read_stored(Excerpt.whole(data), content(suffix))
    x_DHW = stored.stored_DHW * stored.slope + stored.intercept
    np.testing.assert_array_equal(x_DHW, array if suffix == ".npy" else np.asarray(array).T)
    assert (stored.slope, stored.intercept) == ((0.5, -3) if suffix == ".nii.gz" else (1, 0))


def test_pynrrds_and_nibabels_own_arrays_are_the_same(tmp_path: Path) -> None:
    x_DHW = some("f4")
    (tmp_path / "a.nrrd").write_bytes(nrrd_of(x_DHW, "raw"))
    theirs, _ = nrrd.read(str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(
        read((tmp_path / "a.nrrd").read_bytes(), ".nrrd"), theirs.transpose(2, 1, 0)
    )
    (tmp_path / "a.nii").write_bytes(nifti(x_DHW))
    image = nibabel.load(tmp_path / "a.nii").get_fdata()
    np.testing.assert_array_equal(read((tmp_path / "a.nii").read_bytes(), ".nii"), image.transpose(2, 1, 0))


@pytest.mark.parametrize("axes", ["".join(p) for p in permutations("DHW")])
@pytest.mark.parametrize("suffix", FORMATS)
def test_axes_say_what_a_files_axes_are_from_the_slowest_on(suffix: str, axes: str) -> None:
    x_DHW = some()
    stored = np.ascontiguousarray(x_DHW.transpose(["DHW".index(axis) for axis in axes]))
    np.testing.assert_array_equal(read(ENCODERS[suffix](stored), suffix, axes), x_DHW)
    assert shape_in(ENCODERS[suffix](stored), content(suffix, axes)) == SHAPE


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4"])
def test_an_npy_files_axes_are_its_indices_however_it_lies(order: str, dtype: str) -> None:
    x_DHW = some("i2").astype(dtype)
    found = read(npy(np.asarray(x_DHW, order=order)), ".npy")  # type: ignore[call-overload]
    np.testing.assert_array_equal(found, x_DHW)
    assert found.dtype.isnative


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_both_kinds_of_nifti_in_both_orders_of_bytes_with_further_axes_of_one(
    kind: type, endianness: str
) -> None:
    header = kind.header_class(endianness=endianness)  # type: ignore[attr-defined]
    image = kind(
        np.ascontiguousarray(some("i2").T)[..., None, None], np.diag([3, 1, 2, 1]), header, dtype="i2"
    )
    np.testing.assert_array_equal(read(image.to_bytes(), ".nii"), some("i2"))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_wherever_it_is(suffix: str, bad: float) -> None:
    x_DHW = some("f4")
    x_DHW[2, 3, 4] = x_DHW[4, 6, 10] = bad
    with pytest.raises(FormatError, match="holds 2 voxels that are no finite number"):
        read(ENCODERS[suffix](x_DHW), suffix)


def with_header(change: Callable[[nibabel.Nifti1Header], None]) -> bytes:
    data = bytearray(nifti(some("i2")))
    header = nibabel.Nifti1Header(bytes(data[:348]))
    change(header)
    data[:348] = header.binaryblock
    return bytes(data)


def pair(header: nibabel.Nifti1Header) -> None:
    header["magic"] = b"ni1"


def huge(header: nibabel.Nifti1Header) -> None:
    header["dim"] = [3, 32767, 32767, 32767, 1, 1, 1, 1]


def nobody(header: nibabel.Nifti1Header) -> None:
    header["datatype"] = 77


NRRD_RAW = nrrd_of(some("i2"), "raw")


@pytest.mark.parametrize(
    ("suffix", "data", "why"),
    [
        (".nii", b"", "is no NIfTI file"),
        (".npy", b"", "is no whole NPY file"),
        (".nrrd", b"", "NRRD header"),
        *((suffix, ENCODERS[suffix](some())[:-1], "cut off|is no whole|ended") for suffix in FORMATS),
        *((suffix, ENCODERS[suffix](some())[:40], "cut off|is no whole|header") for suffix in FORMATS),
        *((s, ENCODERS[s](some()) + b"1", "holds more than the 770 bytes") for s in (".nii", ".npy")),
        (".nii.gz", gzip.compress(nifti(some()) + bytes(2**26)), "holds more than the 770 bytes"),
        (".nii", with_header(pair), "save one .nii or"),
        (".nii", with_header(huge), "says that it holds 32767 x 32767 x 32767 voxels"),
        (".nii", with_header(nobody), "NIfTI"),
        (".nii", nifti(some()[0]), "has 2 axes"),
        (".nii", nifti(np.zeros((2, *SHAPE), "u1")), r"has 4 axes \(2 x 5 x 7 x 11\), a volume has three"),
        (".npy", npy(np.zeros((*SHAPE, 3), "u1")), "has 4 axes"),
        (".npy", npy(np.zeros((0, 3, 3), "u1")), "says that it holds 0 x 3 x 3 voxels"),
        (".npy", npy(np.zeros(SHAPE, "c8")), "voxels of type complex64"),
        (".npy", npy(np.zeros(SHAPE, bool)), "voxels of type bool"),
        (".npy", npy(np.array([[[object()]]])), "voxels of type object"),
        (".npy", npy(np.zeros(SHAPE, [("r", "u1"), ("g", "u1")])), "voxels of type"),
        (".nrrd", NRRD_RAW.replace(b"encoding: raw", b"encoding: hex"), "encoding 'hex'"),
        (
            ".nrrd",
            NRRD_RAW.replace(b"encoding: raw", b"data file: /etc/hostname\nencoding: raw"),
            "in another file",
        ),
        (".nrrd", NRRD_RAW.replace(b"encoding: raw", b"byte skip: 3\nencoding: raw"), "its key 'byte skip'"),
        (".nrrd", NRRD_RAW.replace(b"type: int16", b"type: block"), "is no whole NRRD file"),
        (".nrrd", NRRD_RAW.replace(b"sizes: 11 7 5", b"sizes: 11 7"), "2 sizes for 3 axes"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused_with_why(
    suffix: str, data: bytes, why: str
) -> None:
    with pytest.raises(FormatError, match=why):
        read(data, suffix)


@settings(max_examples=150, deadline=None)
@given(suffix=st.sampled_from(sorted(FORMATS)), cuts=st.data())
def test_bytes_changed_anywhere_are_voxels_or_a_reason(suffix: str, cuts: st.DataObject) -> None:
    data = bytearray(ENCODERS[suffix](some("u1")))
    for _ in range(cuts.draw(st.integers(1, 4))):
        data[cuts.draw(st.integers(0, min(len(data) - 1, 600)))] = cuts.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        assert read(bytes(data), suffix).ndim == 3


@pytest.mark.parametrize(
    ("suffix", "module", "package"), [(".nii", "nibabel", "nibabel"), (".nrrd", "nrrd", "pynrrd")]
)
def test_a_reader_that_is_not_installed_is_named_with_the_line_that_installs_it(
    suffix: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("octjob.data.formats.is_installed", lambda name: name != module)
    with pytest.raises(DataError, match=f"need {package}, which is not installed") as caught:
        read(ENCODERS[suffix](some()), suffix)
    assert caught.value.hint == "Run: pip install 'octjob[formats]'"


def test_npy_needs_no_package_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octjob.data.formats.is_installed", lambda name: name == "numpy")
    np.testing.assert_array_equal(read(npy(some()), ".npy"), some())


def test_names_decide_the_format_in_any_case() -> None:
    assert content_of("A/SCAN.NII.GZ", "WHD") == Content("NIfTI", "WHD")
    assert content_of("a.dcm", "WHD") == Content("DICOM", "DHW")
    assert content_of("a.gz", "DHW") is None

"""Volumes decoded in processes of their own: the same voxels, and a process lost is one volume lost."""

import os
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import FileDataset

from octjob.data import decoders as decoders_module
from octjob.data.decoder import limits
from octjob.data.decoders import Decoders
from octjob.data.dicom import read_volume
from octjob.data.memory_file import MemoryFile
from octjob.data.prepared import Preparation, prepare_volume
from octjob.data.preprocess import Profile
from octjob.data.quarantine import CorruptVolumeError
from octjob.errors import DataError
from tests.doubles.aireadi_bucket import make_dicom, speckle

URI = "file:///bucket/a.dcm"
GOOD = make_dicom(speckle(), syntax=uid.JPEG2000Lossless)


def idle(decoders: Decoders) -> set[int]:
    """The processes of decoders that nobody uses at the time."""
    return {decoder._process.pid for decoder in decoders._idle}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def decoders():
    decoders = Decoders()
    yield decoders
    decoders.close()


def the_process(decoders: Decoders) -> int:
    """The decoding process of a pool that has read one volume."""
    decoders.read(GOOD, URI)
    (pid,) = idle(decoders)
    return pid


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless])
@pytest.mark.parametrize("dtype", ["u1", "i2"])
def test_everything_comes_as_it_comes_in_this_process(
    decoders: Decoders, syntax: uid.UID, dtype: str
) -> None:
    def rescale(ds: FileDataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = "0.1", "-7"

    data = make_dicom(speckle((5, 14, 11), dtype), syntax=syntax, change=rescale)
    here, there = read_volume(data, URI), decoders.read(data, URI, (5, 14, 11))
    np.testing.assert_array_equal(there.stored_DHW, here.stored_DHW)
    assert there.stored_DHW.dtype == here.stored_DHW.dtype
    assert {**vars(there), "stored_DHW": None} == {**vars(here), "stored_DHW": None}


@pytest.mark.parametrize("profile", ["pretraining", "seed_finetune"])
def test_volumes_are_prepared_as_in_this_process(decoders: Decoders, profile: Profile) -> None:
    preparation = Preparation(profile, (3, 7, 5))
    here = prepare_volume(GOOD, URI, (8, 12, 10), preparation)
    with MemoryFile.of(GOOD) as file:
        there = decoders.prepare(file, URI, (8, 12, 10), preparation)
    np.testing.assert_array_equal(there.x_DHW, here.x_DHW)
    assert there.x_DHW.dtype == np.float32
    assert {**vars(there), "x_DHW": None} == {**vars(here), "x_DHW": None}
    flat = make_dicom(np.full((8, 12, 10), 9, "u1"))
    with MemoryFile.of(flat) as file, pytest.raises(CorruptVolumeError, match="same value"):
        decoders.prepare(file, URI, (8, 12, 10), preparation)


def test_errors_come_as_they_come_in_this_process(decoders: Decoders) -> None:
    unknown = GOOD.replace(uid.JPEG2000Lossless.encode(), b"1.2.840.10008.1.2.4.94", 1)
    for data, kind in ((b"", CorruptVolumeError), (GOOD[:-99], CorruptVolumeError), (unknown, DataError)):
        with pytest.raises(DataError) as here:
            read_volume(data, URI)
        with pytest.raises(DataError) as there:
            decoders.read(data, URI)
        assert type(here.value) is type(there.value) is kind
        assert (here.value.message, here.value.hint) == (there.value.message, there.value.hint)
    with pytest.raises(CorruptVolumeError, match="the manifest says 8 x 10 x 12"):
        decoders.read(GOOD, URI, (8, 10, 12))


def test_one_process_serves_one_thread_and_none_is_left(decoders: Decoders) -> None:
    for _ in range(20):
        decoders.read(GOOD, URI)
    assert len(idle(decoders)) == 1
    with ThreadPoolExecutor(3) as pool:
        volumes = list(pool.map(lambda _: decoders.read(GOOD, URI), range(30)))
    assert all((volume.stored_DHW == speckle()).all() for volume in volumes)
    processes = idle(decoders)
    assert 1 <= len(processes) <= 3
    decoders.close()
    assert not any(alive(pid) for pid in processes)


def test_a_decoder_that_crashes_costs_one_volume(decoders: Decoders) -> None:
    os.kill(the_process(decoders), signal.SIGSEGV)
    with pytest.raises(CorruptVolumeError, match=r"its decoder crashed \(SIGSEGV\)"):
        decoders.read(GOOD, URI)
    np.testing.assert_array_equal(decoders.read(GOOD, URI).stored_DHW, speckle())


def test_a_decoder_killed_from_outside_says_nothing_of_the_file(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(the_process(decoders), signal.SIGKILL)
    np.testing.assert_array_equal(decoders.read(GOOD, URI).stored_DHW, speckle())

    started = decoders_module._Decoder.__init__

    def killed(self: object) -> None:
        started(self)
        os.kill(self._process.pid, signal.SIGKILL)

    monkeypatch.setattr(decoders_module._Decoder, "__init__", killed)
    with pytest.raises(DataError, match="killed twice") as caught:
        Decoders().read(GOOD, URI)
    assert not isinstance(caught.value, CorruptVolumeError)


def test_a_decoder_that_never_comes_back_costs_one_volume(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(the_process(decoders), signal.SIGSTOP)
    monkeypatch.setattr(decoders_module, "_CLOCK_PER_CPU_S", 0.05)
    with pytest.raises(CorruptVolumeError, match="has not come back"):
        decoders.read(GOOD, URI, (8, 12, 10))
    monkeypatch.undo()
    np.testing.assert_array_equal(decoders.read(GOOD, URI).stored_DHW, speckle())


def test_a_header_that_unfolds_without_end_meets_the_limits(decoders: Decoders) -> None:
    """24 MB of empty sequence items: three million Python objects, minutes and gigabytes of them."""
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 3_000_000
    bomb = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + items
    bomb += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    whole = make_dicom(speckle())
    place = whole.index(struct.pack("<HH2s", 0x0008, 0x1090, b"LO"))
    decoders.read(whole, URI)
    start = time.monotonic()
    with pytest.raises(CorruptVolumeError, match=r"processor time|memory"):
        decoders.read(whole[:place] + bomb + whole[place:], URI, (8, 12, 10))
    assert time.monotonic() - start < 30
    np.testing.assert_array_equal(decoders.read(whole, URI).stored_DHW, speckle())


def test_a_large_volume_after_a_small_one_is_not_held_to_the_small_ones_limits(decoders: Decoders) -> None:
    x = np.zeros((200, 1024, 1024), "u1")
    x[7, 7, 7] = 7
    data = make_dicom(x)
    decoders.read(GOOD, URI, (8, 12, 10))
    assert (decoders.read(data, URI, x.shape).stored_DHW == x).all()
    memory_bytes, _ = limits(len(GOOD), (8, 12, 10))
    assert memory_bytes < len(data) * 2


PARENT = """
import sys, time
from octjob.data.decoders import Decoders
decoders = Decoders()
decoders.read(open(sys.argv[1], "rb").read(), "file:///a.dcm")
print(decoders._idle[0]._process.pid, flush=True)
time.sleep(60)
"""


def test_the_processes_end_with_their_parent_however_it_ends(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(GOOD)
    command = [sys.executable, "-c", PARENT, str(tmp_path / "a.dcm")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    until = time.monotonic() + 20
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pid)


def test_a_process_that_cannot_start_is_no_corrupt_volume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pydicom.py").write_text("raise ImportError('no pydicom today')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(DataError, match="could be started: ImportError: no pydicom today") as caught:
        Decoders().read(GOOD, URI)
    assert not isinstance(caught.value, CorruptVolumeError)


def test_the_decoding_process_does_not_load_torch() -> None:
    loaded = "import sys, octjob.data.decoder; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"

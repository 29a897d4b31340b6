"""Preprocessed volumes on this machine's disk, so that each is read and decoded once.

    <folder>/<SOP instance UID>.npy    SHA-256, then the array

Legend: x_DHW float32, B-scans x rows x columns, as the encoder takes them.
"""

from __future__ import annotations

import io
import logging
import os
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octjob.errors import AccessError
from octjob.storage.base import NO_ROOM
from octjob.storage.sealed import seal, unseal
from octjob.storage.temporary import remove_dead, temporary_file

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]


class DiskCache:
    """Volumes of `size` (D, H, W) in one folder. What is damaged is absent. Thread-safe."""

    def __init__(self, folder: Path, size: tuple[int, int, int]) -> None:
        self._folder = folder
        self._size = size
        self._is_full = False
        # numpy evaluates a header as Python; CPython 3.11's parser fails now and then where two threads ask at once.
        self._parser = threading.Lock()
        remove_dead(folder)

    def get(self, uid: str) -> Float32 | None:
        """x_DHW, or None where it is not kept."""
        path = self._path(uid)
        try:
            body = unseal(path.read_bytes())
            if body is None:
                raise ValueError("its SHA-256 is wrong")
            with self._parser:
                x_DHW: Float32 = np.load(io.BytesIO(body), allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError, OSError) as error:
            log.warning("%s: damaged cache file (%s), made again", path, error)
            return None
        if x_DHW.shape != self._size or x_DHW.dtype != np.float32:
            log.warning("%s: cache file holds %s %s, made again", path, x_DHW.shape, x_DHW.dtype)
            return None
        return x_DHW

    def put(self, uid: str, x_DHW: Float32) -> None:
        """Keep it while there is room. Raises `AccessError` where the folder cannot be written."""
        if self._is_full:
            return
        path = self._path(uid)
        try:
            _write(path, x_DHW)
        except FileNotFoundError:
            log.warning("%s: the cache was removed meanwhile; not kept", path)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise AccessError(
                    f"{path}: cannot write the volume cache: {error.strerror or error}",
                    "Mend that or set another `data.cache_dir`, or null for none.",
                ) from error
            self._is_full = True
            log.warning("%s: %s; going on without the volume cache", path, error.strerror)

    def _path(self, uid: str) -> Path:
        return self._folder / f"{uid}.npy"


def _write(path: Path, x_DHW: Float32) -> None:
    buffer = io.BytesIO()
    np.save(buffer, x_DHW)
    with temporary_file(path.parent) as (temporary, file):
        file.write(seal(buffer.getvalue()))
        file.flush()
        os.replace(temporary, path)

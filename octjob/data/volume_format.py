"""Preprocessed volumes as bytes: what numbers a cache holds, and how it is seen that they are whole.

    SHA-256 | .npy header | voxels, little-endian, in C order

Legend: x_DHW float32, B-scans x rows x columns, as the encoder takes them.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from octjob.data.preprocess import Profile, preprocess_digest
from octjob.spec.experiment import VolumeDtype
from octjob.storage.sealed import seal, unseal

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class VolumeFormat:
    """Volumes of `size` (D, H, W), preprocessed by `profile`, each voxel rounded to `dtype`."""

    profile: Profile
    size: tuple[int, int, int]
    dtype: VolumeDtype = "float32"

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with anything that changes a voxel."""
        plain = preprocess_digest(self.profile, self.size)
        if self.dtype == "float32":
            return plain
        return hashlib.sha256(f"{plain} {self.dtype}".encode()).hexdigest()[:16]

    @cached_property
    def num_bytes(self) -> int:
        """The length of an encoded volume."""
        voxels = math.prod(self.size) * np.dtype(self.dtype).itemsize
        return len(seal(b"")) + len(self._header) + voxels

    def rounded(self, x_DHW: Float32) -> Float32:
        """What `decode` gives back of `x_DHW`: itself for float32, else every voxel to the nearest, ties to even.

        No volume overflows float16: `pretraining` voxels are z-scores, of which no one among n exceeds sqrt(n - 1),
        so it would take 4 billion; those of `seed_finetune` are within [0, 1].
        """
        return x_DHW if self.dtype == "float32" else x_DHW.astype(self.dtype).astype(np.float32)

    def encode(self, x_DHW: Float32) -> bytes:
        """The bytes to keep."""
        return seal(self._header + np.ascontiguousarray(x_DHW, self._stored).tobytes())

    def decode(self, data: bytes) -> Float32:
        """x_DHW. Raises `ValueError` saying what is wrong with the bytes."""
        body = unseal(data)
        if body is None:
            raise ValueError("its SHA-256 is wrong")
        # The header of these volumes is one text, so nothing has to parse another's.
        if not body.startswith(self._header) or len(data) != self.num_bytes:
            raise ValueError(f"holds no {self.dtype} of {' x '.join(map(str, self.size))}")
        x_DHW = np.frombuffer(body, self._stored, offset=len(self._header)).reshape(self.size)
        return x_DHW.astype(np.float32)

    @cached_property
    def _header(self) -> bytes:
        file = io.BytesIO()
        description = {"descr": self._stored.str, "fortran_order": False, "shape": self.size}
        np.lib.format.write_array_header_1_0(file, description)
        return file.getvalue()

    @cached_property
    def _stored(self) -> np.dtype[np.floating]:
        return np.dtype(self.dtype).newbyteorder("<")

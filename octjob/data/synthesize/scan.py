"""One scan of one retina: from a protocol's geometry and the scan's nuisances to a uint8 volume (D, H, W).

D frames (B-scans), H rows (axial), W columns (fast lateral axis); maps over the retina are (D, W), depths are
fractions of the frame. Everything is vectorised: a volume of 200,000 voxels takes about 10 ms of one core.
"""

from __future__ import annotations

import numpy as np

from octjob.data.synthesize.anatomy import (
    CHOROID,
    CHOROID_MM,
    DISC_RADIUS_MM,
    DISC_X_MM,
    SCLERA,
    VITREOUS,
    Array,
    Retina,
)
from octjob.data.synthesize.cohort import Laterality
from octjob.data.synthesize.protocols import Protocol
from octjob.data.synthesize.recipe import SynthesisRecipe

Volume = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

# Noise relative to the signal, axial roll-off and black level of each device: four looks, told apart by eye.
_LOOKS: dict[str, tuple[float, float, float]] = {
    "heidelberg_spectralis": (0.16, 0.15, 0.02),
    "topcon_maestro2": (0.26, 0.35, 0.08),
    "topcon_triton": (0.22, 0.05, 0.05),
    "zeiss_cirrus": (0.30, 0.25, 0.12),
}


def scan_retina(
    retina: Retina,
    protocol: Protocol,
    eye: Laterality,
    shape: tuple[int, int, int],
    recipe: SynthesisRecipe,
    rng: np.random.Generator,
) -> Volume:
    """A uint8 volume of `shape` (D, H, W); `rng` draws the nuisances and must not depend on the class."""
    size = recipe.nuisance
    x_DW, y_DW = _positions_mm(protocol, eye, shape, rng, size)
    edges = _edges(retina, protocol, x_DW, y_DW, recipe.axial_magnification, rng, size)
    volume_DHW = _paint(retina, edges, shape[1])
    _paint_cysts(volume_DHW, retina, protocol, x_DW, y_DW, edges, recipe.axial_magnification)
    return _expose(volume_DHW, retina, protocol, x_DW, y_DW, edges[0], rng, size)


def _positions_mm(
    protocol: Protocol, eye: Laterality, shape: tuple[int, int, int], rng: np.random.Generator, size: float
) -> tuple[Array, Array]:
    """Where each A-scan meets the retina (x to the nose, y up): (D, W) each; fixation is never exact."""
    depth, _, width = shape
    along = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    if protocol.radial:
        angle_D1 = (np.pi / depth * np.arange(depth, dtype=np.float32))[:, None]
        right_DW = protocol.width_mm * along * np.cos(angle_D1)
        y_DW = protocol.width_mm * along * np.sin(angle_D1)
    else:
        slow = np.linspace(0.5, -0.5, depth, dtype=np.float32)[:, None]
        right_DW = np.broadcast_to(protocol.width_mm * along, (depth, width))
        y_DW = np.broadcast_to(protocol.height_mm * slow, (depth, width))
    # In a right eye the nose is on the right of the picture.
    x_DW = right_DW if eye == "R" else -right_DW
    if protocol.region.startswith("Optic Disc"):
        x_DW = x_DW + DISC_X_MM
    shift = rng.normal(0, 0.3 * size, 2).astype(np.float32)
    return (x_DW + shift[0]).astype(np.float32), (y_DW + shift[1]).astype(np.float32)


def _edges(
    retina: Retina,
    protocol: Protocol,
    x_DW: Array,
    y_DW: Array,
    magnification: float,
    rng: np.random.Generator,
    size: float,
) -> Array:
    """(9, D, W): the upper edges of the eight layers and of the choroid, as fractions of the frame's depth."""
    pit_DW = np.exp(-(x_DW**2 + y_DW**2) / (2 * retina.pit_radius_mm**2))
    nasal_DW = np.clip(x_DW / 3.0, -1.0, 1.5) * np.exp(-((y_DW / 6.0) ** 2))
    disc_DW = np.clip(1.5 - np.hypot(x_DW - DISC_X_MM, y_DW) / DISC_RADIUS_MM, 0, 1)

    thickness = np.broadcast_to(retina.thickness_mm[:, None, None], (8, *x_DW.shape)).copy()
    thickness[0] *= 1 + 1.6 * retina.nasal_thickening * nasal_DW
    thickness[:4] *= 1 - retina.pit_depth * pit_DW
    thickness[4] *= 1 + 0.5 * pit_DW
    thickness[1:] *= 1 - 0.9 * disc_DW
    thickness *= magnification / protocol.depth_mm

    # The pigment epithelium is the reference: a scan moves, tilts and bends it, the layers stack upon it.
    tilt = rng.normal(0, 0.05 * size, 2)
    bend = 0.04 + abs(rng.normal(0, 0.05 * size))
    u_DW, v_DW = x_DW / 6.0, y_DW / 6.0
    base_DW = 0.62 + rng.uniform(-0.12, 0.12) * size + tilt[0] * u_DW + tilt[1] * v_DW
    base_DW = base_DW - bend * (u_DW**2 + v_DW**2) + 0.12 * disc_DW
    # Eye movement between frames.
    base_DW = base_DW + rng.normal(0, 0.004 * size, (x_DW.shape[0], 1))
    total = thickness.sum(axis=0)
    tops = np.concatenate([np.zeros_like(total)[None], np.cumsum(thickness, axis=0)]) + (base_DW - total)
    edges: Array = tops.astype(np.float32)
    return edges


def _paint(retina: Retina, edges: Array, rows: int) -> Array:
    """Sum of soft steps, one at each edge: (D, H, W) reflectivity about 0-1."""
    z_H1 = ((np.arange(rows, dtype=np.float32) + 0.5) / rows)[:, None]
    levels = np.concatenate([[VITREOUS], retina.reflectivity, [CHOROID]]).astype(np.float32)
    volume_DHW = np.full((edges.shape[1], rows, edges.shape[2]), levels[0], dtype=np.float32)
    step_DHW = np.empty_like(volume_DHW)
    for edge_DW, jump in zip(edges, np.diff(levels), strict=True):
        np.subtract(z_H1 * rows, (edge_DW * rows - 0.5)[:, None, :], out=step_DHW)
        np.clip(step_DHW, 0, 1, out=step_DHW)
        step_DHW *= jump
        volume_DHW += step_DHW
    # The choroid fades into the sclera.
    np.subtract(z_H1, edges[-1][:, None, :], out=step_DHW)
    step_DHW *= (CHOROID - SCLERA) / (2.4 * CHOROID_MM)
    np.clip(step_DHW, 0, CHOROID - SCLERA, out=step_DHW)
    volume_DHW -= step_DHW
    return volume_DHW


def _paint_cysts(
    volume_DHW: Array,
    retina: Retina,
    protocol: Protocol,
    x_DW: Array,
    y_DW: Array,
    edges: Array,
    magnification: float,
) -> None:
    rows = volume_DHW.shape[1]
    z_H = (np.arange(rows, dtype=np.float32) + 0.5) / rows
    for x, y, level, radius, half_height, darkness in retina.cysts:
        inside_DW = 1 - ((x_DW - x) ** 2 + (y_DW - y) ** 2) / radius**2
        frames, columns = np.nonzero(inside_DW > 0)
        top_N, bottom_N = edges[1][frames, columns], edges[5][frames, columns]
        centre_N1 = (top_N + level * (bottom_N - top_N))[:, None]
        half_N1 = (half_height * magnification / protocol.depth_mm * np.sqrt(inside_DW[frames, columns]))[
            :, None
        ]
        cover_NH = np.clip((half_N1 - np.abs(z_H - centre_N1)) * rows + 0.5, 0, 1)
        volume_DHW[frames, :, columns] *= 1 - darkness * cover_NH


def _expose(
    volume_DHW: Array,
    retina: Retina,
    protocol: Protocol,
    x_DW: Array,
    y_DW: Array,
    surface_DW: Array,
    rng: np.random.Generator,
    size: float,
) -> Volume:
    """Shadows, vignetting, roll-off, speckle, gain, offset and gamma, then eight bits."""
    noise, roll_off, black = _LOOKS[protocol.device]
    rows = volume_DHW.shape[1]
    light_DW = _vignette(x_DW, y_DW, rng, size) * _shadows(retina, x_DW, y_DW, rng, size)
    z_H1 = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    fade_H1 = np.exp(-(roll_off + 0.4 * size * rng.random()) * z_H1).astype(np.float32)
    volume_DHW *= fade_H1
    volume_DHW *= light_DW.astype(np.float32)[:, None, :]

    strength = np.float32(noise * np.exp(rng.normal(0, 0.3 * size)))
    speckle_DHW = rng.standard_normal(volume_DHW.shape, dtype=np.float32)
    speckle_DHW *= strength * (volume_DHW + np.float32(0.12))
    volume_DHW += speckle_DHW

    gain = 170 * np.exp(rng.normal(0, 0.25 * size))
    offset = 255 * black + abs(rng.normal(0, 20 * size))
    volume_DHW *= np.float32(gain)
    volume_DHW += np.float32(offset)
    np.clip(volume_DHW, 0, 255, out=volume_DHW)
    gamma = np.exp(rng.normal(0, 0.25 * size))
    curve = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    exposed: Volume = curve[volume_DHW.astype(np.uint8)]
    return exposed


def _vignette(x_DW: Array, y_DW: Array, rng: np.random.Generator, size: float) -> Array:
    slope = rng.normal(0, 0.15 * size, 2)
    fall = abs(rng.normal(0, 0.5 * size))
    u_DW, v_DW = x_DW / 6.0, y_DW / 6.0
    light_DW = (1 + slope[0] * u_DW + slope[1] * v_DW) * np.exp(-fall * (u_DW**2 + v_DW**2))
    clipped_DW: Array = np.clip(light_DW, 0.1, 2).astype(np.float32)
    return clipped_DW


def _shadows(retina: Retina, x_DW: Array, y_DW: Array, rng: np.random.Generator, size: float) -> Array:
    """Vessels darken what lies below them; so do up to three floaters, drawn for this scan."""
    angle_DW = np.arctan2(y_DW, x_DW - DISC_X_MM)[None]
    distance_DW = np.hypot(x_DW - DISC_X_MM, y_DW)[None]
    turn_VDW = np.abs(np.mod(angle_DW - retina.vessel_angles[:, None, None] + np.pi, 2 * np.pi) - np.pi)
    # Vessels arch round the fovea, so none crosses its centre.
    clear_DW = 1 - np.exp(-(x_DW**2 + y_DW**2) / 0.7)
    light_DW = 1 - 0.45 * clear_DW * np.exp(-((turn_VDW * distance_DW / retina.vessel_width_mm) ** 2)).max(
        axis=0
    )
    for _ in range(int(rng.integers(0, 4) if size > 0 else 0)):
        cx, cy, radius, dark = rng.uniform((-3, -3, 0.3, 0.2), (3, 3, 1.0, 0.7))
        light_DW = light_DW * (1 - dark * np.exp(-((x_DW - cx) ** 2 + (y_DW - cy) ** 2) / radius**2))
    shaded_DW: Array = light_DW.astype(np.float32)
    return shaded_DW

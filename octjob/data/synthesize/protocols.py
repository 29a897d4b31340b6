"""The imaging protocols of the four AI-READI devices: geometry and names as published, none of it ours."""

from __future__ import annotations

from dataclasses import dataclass

from octjob.data.synthesize.recipe import Device


@dataclass(frozen=True)
class Protocol:
    """One protocol of one device.

    frames, rows, columns: stored geometry; rows run axially, columns along the fast lateral axis.
    width_mm, height_mm, depth_mm: field of view along columns, frames and rows.
    radial: frames are spokes through the optic disc, not a raster; pixel measures then differ per frame.
    """

    name: str
    device: Device
    manufacturer: str
    model: str
    region: str
    frames: int
    rows: int
    columns: int
    width_mm: float
    height_mm: float
    depth_mm: float
    radial: bool = False


RADIAL = "spectralis_onh_rc_hr_oct"
_GEOMETRIES = (
    (RADIAL, "Optic Disc", 27, 496, 768, 4.4, 4.4, 1.92),
    ("spectralis_ppol_mac_hr_oct", "Macula", 61, 496, 768, 8.8, 7.4, 1.92),
    ("spectralis_mac_20x20_hs_octa", "Macula, 20 x 20", 512, 496, 512, 5.8, 5.8, 1.92),
    ("maestro2_3d_wide_oct", "Wide Field", 128, 885, 512, 12.0, 9.0, 2.30),
    ("maestro2_3d_macula_oct", "Macula", 128, 885, 512, 6.0, 6.0, 2.30),
    ("maestro2_macula_6x6_octa", "Macula, 6 x 6", 360, 885, 360, 6.0, 6.0, 2.30),
    ("triton_3d_radial_oct", "Optic Disc", 256, 992, 512, 6.0, 6.0, 2.58),
    ("triton_macula_6x6_octa", "Macula, 6 x 6", 320, 992, 320, 6.0, 6.0, 2.58),
    ("triton_macula_12x12_octa", "Macula, 12 x 12", 512, 992, 512, 12.0, 12.0, 2.58),
    ("cirrus_mac_oct", "Macula", 128, 1024, 512, 6.0, 6.0, 2.00),
    ("cirrus_disc_oct", "Optic Disc", 200, 1024, 200, 6.0, 6.0, 2.00),
    ("cirrus_macula_6x6_octa", "Macula, 6 x 6", 350, 1024, 350, 6.0, 6.0, 2.00),
    ("cirrus_disc_6x6_octa", "Optic Disc, 6 x 6", 350, 1024, 350, 6.0, 6.0, 2.00),
)
_DEVICES: dict[str, tuple[Device, str, str]] = {
    "spectralis": ("heidelberg_spectralis", "Heidelberg", "Spectralis"),
    "maestro2": ("topcon_maestro2", "Topcon", "Maestro2"),
    "triton": ("topcon_triton", "Topcon", "Triton"),
    "cirrus": ("zeiss_cirrus", "Zeiss", "Cirrus"),
}


def _table() -> dict[str, Protocol]:
    table = {}
    for name, region, frames, rows, columns, width_mm, height_mm, depth_mm in _GEOMETRIES:
        device, manufacturer, model = _DEVICES[name.split("_")[0]]
        table[name] = Protocol(
            name=name,
            device=device,
            manufacturer=manufacturer,
            model=model,
            region=region,
            frames=frames,
            rows=rows,
            columns=columns,
            width_mm=width_mm,
            height_mm=height_mm,
            depth_mm=depth_mm,
            radial=name == RADIAL,
        )
    return table


PROTOCOLS: dict[str, Protocol] = _table()


def scaled_shape(protocol: Protocol, scale: tuple[float, float, float]) -> tuple[int, int, int]:
    """(D, H, W) = frames, rows, columns after scaling; at least 4 along each axis (radial frames are kept)."""
    frames = protocol.frames if protocol.radial else round(protocol.frames * scale[0])
    return max(4, frames), max(4, round(protocol.rows * scale[1])), max(4, round(protocol.columns * scale[2]))

"""What AI-READI's names say: devices by folder and model, protocols by file-name stem, radial scans.

Source: the data set's published documentation (docs.aireadi.org, retinal OCT) and its file naming.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

# The published file-name stem of each structural protocol and the `anatomic_region` the manifest gives it. The
# structural cubes of Topcon's angiographies are called `..._octa` in some releases and `..._oct` in others.
# triton_3d_radial_oct is a raster of 256 B-scans in spite of its name.
PROTOCOL_REGIONS: Mapping[str, str] = MappingProxyType(
    {
        "spectralis_onh_rc_hr_oct": "Optic Disc",
        "spectralis_ppol_mac_hr_oct": "Macula",
        "spectralis_mac_20x20_hs_octa": "Macula, 20 x 20",
        "maestro2_3d_wide_oct": "Wide Field",
        "maestro2_3d_macula_oct": "Macula",
        "maestro2_macula_6x6_oct": "Macula, 6 x 6",
        "maestro2_macula_6x6_octa": "Macula, 6 x 6",
        "triton_3d_radial_oct": "Optic Disc",
        "triton_macula_6x6_oct": "Macula, 6 x 6",
        "triton_macula_6x6_octa": "Macula, 6 x 6",
        "triton_macula_12x12_oct": "Macula, 12 x 12",
        "triton_macula_12x12_octa": "Macula, 12 x 12",
        "cirrus_mac_oct": "Macula",
        "cirrus_disc_oct": "Optic Disc",
        "cirrus_macula_6x6_octa": "Macula, 6 x 6",
        "cirrus_disc_6x6_octa": "Optic Disc, 6 x 6",
    }
)
RADIAL_PROTOCOL = "spectralis_onh_rc_hr_oct"

_MODEL_DEVICES = (
    ("spectralis", "heidelberg_spectralis"),
    ("maestro", "topcon_maestro2"),
    ("triton", "topcon_triton"),
    ("cirrus", "zeiss_cirrus"),
)
_FOLDER = re.compile(r"(?:^|/)structural_oct/([^/]+)/([^/]+)/[^/]+$")


def layout_folders(key: str) -> tuple[str, str] | None:
    """(device, participant) from `.../structural_oct/<device>/<participant>/<file>`, else None."""
    match = _FOLDER.search(key)
    return (match[1], match[2]) if match else None


def device_of(key: str, model: str) -> str:
    """The device's folder name, from the path where it is in the layout, else from the model's name."""
    folders = layout_folders(key)
    if folders:
        return folders[0]
    for word, device in _MODEL_DEVICES:
        if word in model.casefold():
            return device
    return re.sub(r"[^a-z0-9]+", "_", model.casefold()).strip("_")


def protocol_of(text: str) -> str:
    """The published protocol whose stem occurs in a file name or ProtocolName (the longest one), else ''."""
    plain = re.sub(r"[^a-z0-9]+", "_", text.casefold())
    matches = [name for name in PROTOCOL_REGIONS if name in plain]
    return max(matches, key=len, default="")


def region_key(region: str) -> str:
    """Regions compare equal across the published spellings: `Macula, 6 x 6`, `Macula_6x6`."""
    return re.sub(r"[\s,_]+", "", region).casefold()


def is_radial(protocol: str, device: str, region: str) -> bool:
    """Whether the B-scans are spokes and circles around the optic disc, not a raster: Spectralis' disc
    scan."""
    if protocol:
        return protocol == RADIAL_PROTOCOL
    return device == "heidelberg_spectralis" and region_key(region) == region_key("Optic Disc")

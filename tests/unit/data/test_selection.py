"""The volumes an experiment asks for, no others, each exclusion with its reason."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octjob.data import selection
from octjob.data.manifest import VolumeRecord
from octjob.data.selection import select
from octjob.errors import SpecError
from octjob.spec.experiment import Data

BASE = VolumeRecord(
    participant="1001",
    device="topcon_triton",
    manufacturer="Topcon",
    model="Triton",
    region="Macula, 6 x 6",
    imaging="OCT",
    laterality="R",
    height=992,
    width=320,
    num_frames=320,
    sop_instance_uid="1.1",
    key="retinal_oct/structural_oct/topcon_triton/1001/a.dcm",
    protocol="triton_macula_6x6_octa",
)
LEFT = replace(BASE, laterality="L", sop_instance_uid="1.2")
CIRRUS = replace(
    BASE,
    device="zeiss_cirrus",
    region="Macula",
    protocol="cirrus_mac_oct",
    sop_instance_uid="1.3",
    key="retinal_oct/structural_oct/zeiss_cirrus/1001/a.dcm",
)
RADIAL = replace(
    BASE,
    device="heidelberg_spectralis",
    region="Optic Disc",
    protocol="spectralis_onh_rc_hr_oct",
    sop_instance_uid="1.4",
    key="retinal_oct/structural_oct/heidelberg_spectralis/1001/a.dcm",
)
TRITON_DISC = replace(BASE, region="Optic Disc", protocol="triton_3d_radial_oct", sop_instance_uid="1.5")
FLOW = replace(
    BASE, imaging="OCTA", key="retinal_octa/flow_cube/topcon_triton/1001/a.dcm", sop_instance_uid="1.6"
)
ALL = (BASE, LEFT, CIRRUS, RADIAL, TRITON_DISC, FLOW)


def test_everything_structural_and_not_radial_is_taken_by_default() -> None:
    chosen = select(ALL, Data())
    assert chosen.eligible == (BASE, LEFT, CIRRUS, TRITON_DISC)
    assert chosen.excluded == {RADIAL: selection.RADIAL, FLOW: selection.NOT_STRUCTURAL}


def test_radial_scans_are_taken_only_when_asked_for() -> None:
    assert RADIAL in select(ALL, Data(include_radial=True)).eligible
    unnamed = replace(RADIAL, protocol="")  # a renamed file: device and region still tell
    assert select([unnamed], Data()).excluded == {unnamed: selection.RADIAL}


@pytest.mark.parametrize("name", ["Macula, 6 x 6", "Macula_6x6", "macula 6x6"])
def test_regions_match_in_every_published_spelling_and_no_other(name: str) -> None:
    chosen = select(ALL, Data(regions=(name,)))
    assert chosen.eligible == (BASE, LEFT)
    assert chosen.excluded[CIRRUS] == selection.OTHER_REGION  # `Macula` is another region


def test_device_and_eye() -> None:
    chosen = select(ALL, Data(devices=("topcon_triton",), regions=("Macula, 6 x 6",), laterality="left"))
    assert chosen.eligible == (LEFT,)
    assert (chosen.excluded[BASE], chosen.excluded[CIRRUS]) == (selection.OTHER_EYE, selection.OTHER_DEVICE)


@pytest.mark.parametrize(
    ("data", "key", "nearest"),
    [
        (Data(devices=("topcon_trition",)), "data.devices", "topcon_triton"),
        (Data(regions=("Optic Disk",)), "data.regions", "Optic Disc"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_names_present_and_the_nearest(
    data: Data, key: str, nearest: str
) -> None:
    with pytest.raises(SpecError) as caught:
        select(ALL, data)
    assert key in caught.value.message
    assert nearest in caught.value.message
    assert repr(nearest) in caught.value.hint


@given(st.permutations(ALL))
def test_one_volume_is_the_first_by_device_region_eye_and_uid_whatever_the_order(
    records: list[VolumeRecord],
) -> None:
    chosen = select(records, Data(volumes="one"))
    assert chosen.eligible == (LEFT,)
    assert chosen.excluded[CIRRUS] == selection.NOT_THE_ONE
    assert len(chosen.eligible) + len(chosen.excluded) == len(ALL)

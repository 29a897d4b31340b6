"""What a synthetic AI-READI bucket is made of: the recipe, and the published tables it follows."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Split = Literal["train", "val", "test"]
Device = Literal["heidelberg_spectralis", "topcon_maestro2", "topcon_triton", "zeiss_cirrus"]
TransferSyntax = Literal["explicit_le", "rle", "jpeg_ls", "jpeg2000"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
CLASSES: tuple[str, ...] = (
    "healthy",
    "pre_diabetes_lifestyle_controlled",
    "oral_medication_and_or_non_insulin_injectable_medication_controlled",
    "insulin_dependent",
)
# Participants with OCT by recommended split and class, AI-READI v2.0.0.
PUBLISHED_COUNTS: dict[Split, tuple[int, int, int, int]] = {
    "train": (290, 162, 233, 58),
    "val": (39, 40, 47, 33),
    "test": (40, 40, 41, 38),
}
# The same participants by clinical site and class. Site and class are associated, as in life.
SITE_COUNTS: dict[str, tuple[int, int, int, int]] = {
    "UW": (160, 97, 92, 34),
    "UCSD": (83, 74, 99, 33),
    "UAB": (126, 71, 130, 62),
}
FIRST_ID = {"UW": 1000, "UCSD": 4000, "UAB": 7000}
IDS_PER_SITE = 999

DEFAULT_PROTOCOLS: tuple[str, ...] = (
    "spectralis_ppol_mac_hr_oct",
    "maestro2_3d_macula_oct",
    "triton_macula_6x6_octa",
    "cirrus_mac_oct",
)

# Raised whenever the code below draws something else from the same recipe, so that no UID is ever reused.
GENERATOR_VERSION = 1

Scale = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=0)]
ClassCounts = tuple[Count, Count, Count, Count]


class Frozen(BaseModel):
    """A closed, immutable model: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Corruptions(Frozen):
    """How many volumes (never the same one twice) are written wrong, by kind."""

    truncated: Count = 0
    """the second half of the file is missing"""
    not_dicom: Count = 0
    """an HTML error page under a .dcm name"""
    wrong_sop_class: Count = 0
    """a valid DICOM file of the en face SOP class (…77.1.5.7)"""
    missing: Count = 0
    """listed in the manifest, absent from the bucket"""

    @property
    def total(self) -> int:
        """All volumes to be spoilt."""
        return self.truncated + self.not_dicom + self.wrong_sop_class + self.missing


class SynthesisRecipe(Frozen):
    """Everything that decides the bytes of a synthetic bucket. Two recipes that differ share no UID."""

    seed: Count = 0
    participants: Annotated[int, Field(gt=0)] | dict[Split, Count | ClassCounts] = 1061
    """a total spread over the published class x split table, or per split a count spread over its classes or one
    count per class, kept as it is"""
    without_oct: Count = 0
    """further participants, in the train split, of whom no OCT volume exists (6 in v2)"""
    protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
    """names from `octjob.data.synthesize.protocols`; the radial Spectralis one is no raster volume"""
    devices_per_participant: Annotated[int, Field(ge=1, le=4)] | None = None
    """how many of the devices each participant was imaged on (drawn evenly); none: on all of them"""
    eyes: Literal["both", "one"] = "both"
    """`one`: left or right by lot, for each participant"""
    geometry_scale: tuple[Scale, Scale, Scale] = (0.125, 0.125, 0.125)
    """factor on the devices' frames, rows, columns"""
    class_effect: Annotated[float, Field(ge=0, le=3)] = 1.0
    """size of what tells the classes apart (see `anatomy`); 0: nothing does. Cysts grow exponentially with it."""
    nuisance: Annotated[float, Field(ge=0)] = 1.0
    """size of everything else that varies, alike in every class (see `anatomy` and `scan`)"""
    axial_magnification: Annotated[float, Field(gt=0, le=4)] = 3.0
    """the retina is drawn this much thicker than life, so that layers survive coarse geometries"""
    transfer_syntax: dict[Device, TransferSyntax] = Field(default_factory=dict)
    """per device; explicit VR little endian where nothing is said"""
    id_column: Literal["participant_id", "person_id"] = "participant_id"
    """v1 and v2 of AI-READI say participant_id (as does `aireadi-loader`), later tables person_id"""
    corruptions: Corruptions = Corruptions()

    @model_validator(mode="after")
    def _known_protocols(self) -> SynthesisRecipe:
        from octjob.data.synthesize.protocols import PROTOCOLS

        unknown = sorted(set(self.protocols) - set(PROTOCOLS))
        if unknown or not self.protocols or len(set(self.protocols)) < len(self.protocols):
            raise ValueError(
                f"protocols must be distinct and among {sorted(PROTOCOLS)}, not {unknown or self.protocols}"
            )
        return self

    @property
    def digest(self) -> str:
        """64 hex digits that change with any field and with the generator's version."""
        content = f"octjob-synthesis-{GENERATOR_VERSION}\n{self.model_dump_json()}"
        return hashlib.sha256(content.encode()).hexdigest()

"""A participant's and an eye's retina: layer thicknesses, reflectivities, cysts, and what the class does to them.

The classes differ in two things only, both of the participant, hence of both eyes and of every scan:
layer thickness (inner retina thins, inner nuclear layer swells) and the number of small dark cysts.
Everything else is drawn alike in every class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octjob.data.synthesize.cohort import PARTICIPANT_STREAM, Laterality, Participant, stream
from octjob.data.synthesize.recipe import SynthesisRecipe

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

# Layers from the vitreous down: nerve fibres, ganglion cells + inner plexiform, inner nuclear, outer plexiform,
# outer nuclear, ellipsoid zone, outer segments, pigment epithelium. Plausible thicknesses and brightnesses of a
# healthy macula, not measurements.
THICKNESS_MM = np.array([0.030, 0.070, 0.036, 0.030, 0.075, 0.020, 0.020, 0.022])
REFLECTIVITY = np.array([0.80, 0.52, 0.28, 0.50, 0.20, 0.85, 0.45, 1.00])
VITREOUS, CHOROID, SCLERA = 0.06, 0.55, 0.12
CHOROID_MM = 0.25

# log-thickness SD between participants; the class shifts below are in units of it, times `class_effect`.
THICKNESS_SD = 0.08
# Ordinal on the whole, but each step is made of something else, so no single number orders the classes.
THINNING_SD = np.array([0.0, 3.0, 4.2, 7.2])  # nerve fibres and ganglion cells
SWELLING_SD = np.array([0.0, 0.6, 4.2, 5.4])  # inner nuclear layer
CYST_LOG_RATE = np.array([0.0, 0.7, 1.6, 2.5])
CYSTS_HEALTHY = 4.0  # expected number within 3 mm of the fovea; everybody has some


@dataclass(frozen=True)
class Retina:
    """One eye. Lengths in mm on the retina, x towards the nose, y up, origin at the fovea."""

    thickness_mm: Array  # (8,)
    reflectivity: Array  # (8,)
    pit_radius_mm: float
    pit_depth: float
    nasal_thickening: float
    vessel_angles: Array  # (V,) directions in which vessels leave the disc
    vessel_width_mm: float
    cysts: Array  # (C, 6): x, y, layer depth 0-1, lateral radius mm, axial radius mm, darkness


DISC_X_MM = 4.3
DISC_RADIUS_MM = 0.9


def draw_retina(recipe: SynthesisRecipe, person: Participant, eye: Laterality) -> Retina:
    """The retina of one eye; a participant's two eyes share thickness, brightness and cyst load."""
    shared = stream(recipe, PARTICIPANT_STREAM, person.index, 0)
    own = stream(recipe, PARTICIPANT_STREAM, person.index, 1 + "LR".index(eye))
    effect = recipe.class_effect

    log_thickness = shared.normal(0, THICKNESS_SD, 8) + own.normal(0, 0.02, 8)
    log_thickness += shared.normal(0, 0.06 * recipe.nuisance)  # axial length: all layers together
    log_thickness[:2] -= effect * THINNING_SD[person.label] * THICKNESS_SD
    log_thickness[2] += effect * SWELLING_SD[person.label] * THICKNESS_SD
    brightness = np.exp(shared.normal(0, 0.12 * recipe.nuisance, 8))
    expected_cysts = CYSTS_HEALTHY * np.exp(effect * CYST_LOG_RATE[person.label] + shared.normal(0, 0.35))
    return Retina(
        thickness_mm=(THICKNESS_MM * np.exp(log_thickness)).astype(np.float32),
        reflectivity=(REFLECTIVITY * brightness).astype(np.float32),
        pit_radius_mm=float(np.exp(shared.normal(np.log(0.6), 0.15))),
        pit_depth=float(np.clip(shared.normal(0.75, 0.1), 0.3, 0.95)),
        nasal_thickening=float(np.clip(shared.normal(0.55, 0.08), 0.2, 0.9)),
        vessel_angles=own.uniform(0.55 * np.pi, 1.45 * np.pi, 7).astype(np.float32),
        vessel_width_mm=float(own.uniform(0.08, 0.16)),
        cysts=_draw_cysts(own, int(own.poisson(expected_cysts))),
    )


def _draw_cysts(rng: np.random.Generator, count: int) -> Array:
    radius, angle = 2.8 * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
    columns = (
        radius * np.cos(angle),
        radius * np.sin(angle),
        rng.uniform(0.35, 0.75, count),
        rng.uniform(0.18, 0.40, count),
        rng.uniform(0.015, 0.035, count),
        rng.uniform(0.55, 0.9, count),
    )
    return np.stack(columns, axis=1).astype(np.float32)

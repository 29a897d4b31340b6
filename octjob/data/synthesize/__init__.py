"""A synthetic AI-READI bucket: retina phantoms of four OCT devices, for the demo and for tests."""

from octjob.data.synthesize.bucket import SynthesisReport, render_volume, synthesize
from octjob.data.synthesize.recipe import Corruptions, SynthesisRecipe

__all__ = ["Corruptions", "SynthesisRecipe", "SynthesisReport", "render_volume", "synthesize"]

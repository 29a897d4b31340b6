"""Encoders of others: what one has to be, and how one is registered. See docs/backbones.md."""

from octjob.models.backbones.base import Backbone, Normalisation
from octjob.models.shape import TokenGeometry

__all__ = ["Backbone", "Normalisation", "TokenGeometry"]

"""The studio: a matting data set that our own code renders, so nobody has to download one.

A scene is a hairy, feathery, leafy or glassy thing before a backdrop, with a known straight
foreground, an alpha averaged from samples, and the background. `(seed, index)` decides everything.
"""

from jaxmatte.data.studio.scene import Scene, render
from jaxmatte.data.studio.source import SPLITS, StudioSource, split_range

__all__ = ["SPLITS", "Scene", "StudioSource", "render", "split_range"]

"""PP-Matting: High-Accuracy Natural Image Matting (Chen, Liu, Wang et al. 2022; arXiv 2204.09433).

One encoder that stays at high resolution, two branches. The semantic context branch (SCB) says
where foreground, transition and background are; the high-resolution detail branch (HRDB) gives
the alpha of the transition at full resolution, gated by maps of the SCB (the guidance flow). The
classes decide which of the two is the matte.

Two siblings of PaddleSeg live in the same room, chosen by their encoders: PP-MattingV2 (`v2.py`,
STDC1), made for speed, and PP-HumanMatting (`human.py`, ResNet34-vd), for people at 2048 pixels.
"""

from jaxmatte.papers.ppmatting.learning import objective
from jaxmatte.papers.ppmatting.names import official
from jaxmatte.papers.ppmatting.network import ENCODERS, Model
from jaxmatte.papers.ppmatting.semantic import fuse

__all__ = [
    "ENCODERS",
    "Model",
    "fuse",
    "objective",
    "official",
]

"""Background Matting V2 (Lin, Ryabtsev, Sengupta, Curless, Seitz, Kemelmacher-Shlizerman;
CVPR 2021; arXiv 2012.07810).

A matte of two photographs, one with the subject and one without: the plate. A base network reads
both, shrunken, and gives alpha, foreground and a map of where it is wrong; a refiner recomputes
only the 4 x 4 patches of the picture with the largest predicted error, at full resolution.
"""

from jaxmatte.papers.bgmv2.learning import objective
from jaxmatte.papers.bgmv2.names import official
from jaxmatte.papers.bgmv2.network import ENCODERS, Model
from jaxmatte.papers.bgmv2.refine import CELL, MODES

__all__ = ["CELL", "ENCODERS", "MODES", "Model", "objective", "official"]

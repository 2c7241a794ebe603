"""BiSeNet V2: a bilateral network for segmentation (Yu et al.; IJCV 2021; arXiv 2004.02147).

Two branches read the picture: the detail branch, wide and shallow, keeps borders; the semantic
branch, narrow and deep, sees the whole. Guided aggregation lets each gate the other. Booster heads
on the semantic branch teach it and are left out where nothing is learned.

Two classes are background and foreground; three are background, unknown and foreground, a trimap,
which papers that need one can be fed.
"""

from jaxmatte.papers.bisenetv2.learning import TERMS, objective, ohem
from jaxmatte.papers.bisenetv2.names import official
from jaxmatte.papers.bisenetv2.network import LAYOUTS, NORMALISATIONS, Model, trimap

__all__ = [
    "LAYOUTS",
    "NORMALISATIONS",
    "TERMS",
    "Model",
    "objective",
    "official",
    "ohem",
    "trimap",
]

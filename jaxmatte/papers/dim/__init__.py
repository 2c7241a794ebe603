"""Deep Image Matting (Xu, Price, Cohen, Huang; CVPR 2017; arXiv 1703.03872).

A matte from a picture and a trimap. VGG-16 encodes both; a light decoder undoes its poolings by
the places that they remember, and a small network at full resolution refines the result. There is
no official code and no official checkpoint: the layouts are those of the ports whose weights are
public, and the paper's own text.
"""

from jaxmatte.papers.dim.learning import FORMS, STAGES, objective
from jaxmatte.papers.dim.names import official
from jaxmatte.papers.dim.network import LAYOUTS, Model

__all__ = ["FORMS", "LAYOUTS", "STAGES", "Model", "objective", "official"]

"""GCA-Matting: guided contextual attention (Li, Lu; AAAI 2020; arXiv 2001.04069).

A matte from a picture and its trimap, by a U-Net under spectral normalisation. Twice, at an eighth
of the picture's size, its features are handed from place to place: each place takes them from the
places that look alike, as low-level features of the picture alone say, and known places are
trusted the more, the more of them there are.
"""

from jaxmatte.papers.gca.learning import objective
from jaxmatte.papers.gca.names import official
from jaxmatte.papers.gca.network import Model

__all__ = ["Model", "objective", "official"]

"""MODNet: matting objective decomposition (Ke, Sun, Li, Yan, Lau; AAAI 2022; arXiv 2011.11961).

A portrait's matte from the picture alone. The task is taken apart into three that are solved at
once, each with its own branch and its own loss: semantics say coarsely where the person is,
details draw the boundary, fusion makes the matte of both. What they must agree on also teaches a
trained network on pictures without mattes (SOC, the self-supervised adaptation), and a film's
mattes are freed of flicker by their neighbours (OFD, the one-frame delay).
"""

from jaxmatte.papers.modnet.learning import objective
from jaxmatte.papers.modnet.names import official
from jaxmatte.papers.modnet.network import ENCODERS, RATES, VARIANTS, Model

__all__ = ["ENCODERS", "RATES", "VARIANTS", "Model", "objective", "official"]

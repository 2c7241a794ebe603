"""GFM: Glance and Focus Matting (Li, Zhang, Maybank, Tao; IJCV 130, 2022; arXiv 2010.16188).

One encoder, two decoders. The glance decoder says where foreground, background and transition
are; the focus decoder gives the alpha of the transition; collaborative matting fuses them. How
the two divide the picture is the RoSTa (Representation of Semantic and Transition areas):

  TT   glance: background, transition, foreground; focus: the transition.
  FT   glance: eroded foreground or not; focus: what must be added to it.
  BT   glance: dilated foreground or not; focus: what must be taken away from it.
  RIM  all three, fused by the RoSTa Integration Module.
"""

from jaxmatte.papers.gfm.learning import Targets, objective, rosta_targets
from jaxmatte.papers.gfm.names import official
from jaxmatte.papers.gfm.network import CLASSES, PLANS, ROSTA, Model, collaborative_matting

__all__ = [
    "CLASSES",
    "PLANS",
    "ROSTA",
    "Model",
    "Targets",
    "collaborative_matting",
    "objective",
    "official",
    "rosta_targets",
]

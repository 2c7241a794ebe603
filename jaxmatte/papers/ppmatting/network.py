"""PP-Matting's network, and the choice between it and its siblings."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.encoders.hrnet import HRNet
from jaxmatte.errors import UserError
from jaxmatte.inference.ppmatting import SIDES
from jaxmatte.inference.rules import MULTIPLE
from jaxmatte.papers.contract import Outputs
from jaxmatte.papers.ppmatting.blocks import Blocks
from jaxmatte.papers.ppmatting.detail import HighResolutionDetail
from jaxmatte.papers.ppmatting.human import HumanMatting
from jaxmatte.papers.ppmatting.semantic import SemanticContext, fuse
from jaxmatte.papers.ppmatting.v2 import MattingV2

CHANNELS = {"hrnet_w48": 48, "hrnet_w18": 18}
ENCODERS = (*CHANNELS, "stdc1", "resnet34_vd")


class Model(nn.Module):
    """The network.

    Attributes:
      encoder: "hrnet_w48" or "hrnet_w18"; "stdc1" makes it PP-MattingV2, "resnet34_vd"
        PP-HumanMatting.
      width: multiplies all channels; 1.0 is the paper.
      modules: of HRNet's stages with two, three and four branches; the paper's are (1, 4, 3).
      residual_blocks: of each branch in such a module; the paper's are 4.
      dtype: what the network computes in; the heads' logits and the fusion are float32.
      bn_axis: the mapped axis whose replicas share their batch statistics.
    """

    encoder: str = "hrnet_w48"
    width: float = 1.0
    modules: tuple[int, int, int] = (1, 4, 3)
    residual_blocks: int = 4
    dtype: str = "float32"
    bn_axis: str | None = None

    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self):
        if self.encoder not in ENCODERS:
            known = ", ".join(ENCODERS)
            raise UserError(f"ppmatting: encoder={self.encoder!r} must be one of {known}")
        if len(self.modules) != 3 or min(*self.modules, self.residual_blocks) < 1:
            given = f"modules={tuple(self.modules)}, residual_blocks={self.residual_blocks}"
            raise UserError(f"ppmatting: {given}: three counts and one, each 1 or more")
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> Outputs:
        """Mattes a picture.

        Args:
          image: [B, H, W, 3] in 0..1, RGB; H and W multiples of 32, with stdc1 64 or more, with
            resnet34_vd multiples of 128.
          train: whether batch statistics are used and updated.

        Returns:
          alpha [B, H, W, 1], the fused matte; semantic [B, H, W, 3], the softmax of
          semantic_logits: foreground, transition, background; detail [B, H, W, 1], the sigmoid of
          detail_logits. The siblings: see `MattingV2` and `HumanMatting`.
        """
        if self.is_initializing():
            # Variables do not depend on the picture; it may be too small for the network.
            multiple, least = SIDES.get(self.encoder, (MULTIPLE, MULTIPLE))
            image = jnp.zeros((1, *[max(multiple, least)] * 2, 3))
        self._require_sides(*image.shape[1:3])
        normalised = (image - 0.5) / 0.5
        blocks = Blocks(self.width, jnp.dtype(self.dtype), self.bn_axis)
        if self.encoder == "stdc1":
            return MattingV2(blocks, name="v2")(normalised, train)
        if self.encoder == "resnet34_vd":
            return HumanMatting(blocks, name="human")(normalised, train)
        encoder = blocks.encoder(
            HRNet,
            channels=CHANNELS[self.encoder],
            modules=self.modules,
            blocks=self.residual_blocks,
        )
        maps = encoder(normalised, train)
        semantic_logits, context = SemanticContext(blocks, name="scb")(maps[-1], train)
        detail_logits = HighResolutionDetail(blocks, name="hrdb")(maps[:2], context[::2], train)
        semantic, detail = nn.softmax(semantic_logits), nn.sigmoid(detail_logits)
        return {
            "alpha": fuse(semantic, detail),
            "semantic": semantic,
            "detail": detail,
            "semantic_logits": semantic_logits,
            "detail_logits": detail_logits,
        }

    def _require_sides(self, height: int, width: int) -> None:
        multiple, least = SIDES.get(self.encoder, (MULTIPLE, MULTIPLE))
        if height % multiple or width % multiple or min(height, width) < least:
            more = f", {least} or more" if least > multiple else ""
            raise UserError(
                f"ppmatting: an image of {height} x {width}: height and width must be multiples "
                f"of {multiple}{more} (encoder={self.encoder!r})"
            )

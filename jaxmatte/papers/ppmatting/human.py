"""PP-HumanMatting (PaddleSeg 2022): GFM's two decoders on a quarter of the size, then a refiner.

The glance decoder is PP-Matting's SCB; the refiner is that of Background Matting V2 (Lin et al.
2021, arXiv 2012.07810), over the whole picture.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.encoders.resnet_vd import ResNet34Vd
from jaxmatte.layers import downsample, upsample, upsample_nearest
from jaxmatte.papers.contract import Outputs
from jaxmatte.papers.ppmatting.blocks import Blocks, Head, Stage
from jaxmatte.papers.ppmatting.semantic import SemanticContext, fuse

SCALE = 4  # the decoders see the picture at 1/4
_HIDDEN = 32  # channels handed to the refiner

# Channels of the focus decoder's convolutions, coarsest first.
_FOCUS = ((512, 512, 256), (256, 256, 128), (128, 128, 64), (128, 128, 64), (64, 64, 64))


class FocusDecoder(nn.Module):
    """The details of the transition: a U-Net behind a bridge of dilated convolutions."""

    blocks: Blocks

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> jax.Array:
        """The encoder's maps, from fine to coarse -> [B, h, w, 1 + 1 + 32] before activation."""
        x = maps[-1]
        for i in range(3):
            conv = self.blocks.conv(self.blocks.channels(512), dilation=2, name=f"bridge{i}")
            x = conv(x, train)
        for i, (features, skip) in enumerate(zip(_FOCUS, reversed(maps), strict=True)):
            stage = Stage(features, self.blocks, 2 if i == 0 else 1, name=f"stage{i}")
            x = stage(jnp.concatenate([x, skip], axis=-1), train)
        return Head(2 + self.blocks.channels(_HIDDEN), self.blocks, name="head")(x, train)


class Refiner(nn.Module):
    """Four convolutions without padding: two at half the size, two at the picture's."""

    blocks: Blocks

    @nn.compact
    def __call__(self, image: jax.Array, coarse: jax.Array, train: bool) -> jax.Array:
        """The normalised picture [B, H, W, 3], maps [B, H / 4, W / 4, C] -> [B, H, W, 1]."""
        x = jnp.concatenate([upsample(coarse, SCALE // 2), downsample(image, 2)], axis=-1)
        x = self._layer(24, 1, _bordered(x, 3), train)
        x = self._layer(16, 2, x, train)
        x = jnp.concatenate([upsample_nearest(x, 2), _bordered(image, 2)], axis=-1)
        x = self._layer(12, 3, x, train)
        return self.blocks.plain(1, padding="valid", dtype=jnp.float32, name="logits")(x)

    def _layer(self, features: int, number: int, x: jax.Array, train: bool) -> jax.Array:
        conv = self.blocks.conv(
            self.blocks.channels(features),
            use_bias=False,
            padding="valid",
            name=f"layer{number}",
        )
        return conv(x, train)


def _bordered(x: jax.Array, pixels: int) -> jax.Array:
    """Zeros around [B, H, W, C]."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))


class HumanMatting(nn.Module):
    """The network."""

    blocks: Blocks

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> Outputs:
        """Mattes a picture.

        Args:
          image: [B, H, W, 3] in -1..1; H and W multiples of 128.
          train: whether batch statistics are used and updated.

        Returns:
          alpha [B, H, W, 1], the refined matte. At a quarter of the size: coarse_alpha, the fusion
          of semantic (3 channels) and detail; their logits; error, how far coarse_alpha is
          thought to be from the truth.
        """
        maps = self.blocks.encoder(ResNet34Vd)(downsample(image, SCALE), train)
        semantic_logits, _ = SemanticContext(self.blocks, name="glance")(maps[-1], train)
        focus = FocusDecoder(self.blocks, name="focus")(maps, train)
        detail_logits, error, hidden = focus[..., :1], focus[..., 1:2], focus[..., 2:]
        semantic, detail = nn.softmax(semantic_logits), nn.sigmoid(detail_logits)
        coarse = fuse(semantic, detail)
        known = jnp.concatenate([nn.relu(hidden), coarse, semantic], axis=-1)
        refined = Refiner(self.blocks, name="refiner")(image, known, train)
        return {
            "alpha": jnp.clip(refined, 0.0, 1.0),
            "coarse_alpha": coarse,
            "semantic": semantic,
            "detail": detail,
            "error": jnp.clip(error, 0.0, 1.0),
            "semantic_logits": semantic_logits,
            "detail_logits": detail_logits,
        }

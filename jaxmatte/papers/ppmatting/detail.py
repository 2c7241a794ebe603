"""The high-resolution detail branch (HRDB), and the guidance that gates it."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.encoders.resnet_vd import BasicBlock
from jaxmatte.layers import upsample
from jaxmatte.papers.ppmatting.blocks import Blocks


class Gate(nn.Module):
    """Weighs details by the guidance: a = sigmoid(...[d, g]), then (d * a + d) w.

    Between sigmoid and input lie two 1x1 convolutions and two normalisations, as released; the
    paper's text has one convolution.
    """

    blocks: Blocks

    @nn.compact
    def __call__(self, detail: jax.Array, guidance: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] and [B, H, W, 1] -> [B, H, W, C]."""
        channels = detail.shape[-1]
        x = jnp.concatenate([detail, guidance], axis=-1)
        x = self.blocks.norm(name="norm1")(x, train)
        x = nn.relu(self.blocks.plain(channels + 1, 1, name="hidden")(x))
        x = self.blocks.plain(1, 1, name="score")(x)
        weight = nn.sigmoid(self.blocks.norm(name="norm2")(x, train))
        self.sow("intermediates", "weight", weight)
        return self.blocks.plain(channels, 1, use_bias=False, name="merge")(detail * (weight + 1))


class HighResolutionDetail(nn.Module):
    """The alpha of the transition, at the picture's own resolution throughout."""

    blocks: Blocks

    @nn.compact
    def __call__(
        self, maps: tuple[jax.Array, ...], guidance: list[jax.Array], train: bool
    ) -> jax.Array:
        """The two finest maps of the encoder, three of the SCB -> logits [B, H, W, 1], float32."""
        x = jnp.concatenate([upsample(maps[0], 2), upsample(maps[1], 4)], axis=-1)
        conv = partial(self.blocks.conv, use_bias=False)
        for i, (features, reduced) in enumerate(((64, 32), (32, 16), (16, 8))):
            outputs = self.blocks.channels(features)
            # As released the first block projects, the others' channels fit.
            block = BasicBlock(outputs, conv, project=i == 0, name=f"block{i}")
            x = block(x, train)
            x = self.blocks.plain(self.blocks.channels(reduced), 1, name=f"reduce{i}")(x)
            guide = self.blocks.plain(1, 1, name=f"guidance{i}")(guidance[i])
            guide = upsample(guide, x.shape[1] // guide.shape[1])
            x = Gate(self.blocks, name=f"gate{i}")(x, guide, train)
        return self.blocks.plain(1, 1, use_bias=False, dtype=jnp.float32, name="logits")(x)

"""The semantic context branch (SCB), and the fusion by its classes."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.layers import adaptive_average_pool, resize, upsample
from jaxmatte.papers.ppmatting.blocks import Blocks, Head, Stage

FOREGROUND, TRANSITION, BACKGROUND = range(3)  # the channels of the semantic map

# Channels of each stage's convolutions, coarsest first.
_STAGES = ((512, 512, 256), (256, 256, 128), (128, 128, 64), (128, 128, 64), (64, 64, 64))
_SIDES = (256, 128, 64, 64)  # channels of the context that joins the stages after the first


class PyramidPooling(nn.Module):
    """The global context on grids of 1, 3 and 5 bins (Zhao et al. 2017), without reduction."""

    blocks: Blocks

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, 512]."""
        pooled = []
        for i, bins in enumerate((1, 3, 5)):
            conv = self.blocks.conv(x.shape[-1], 1, name=f"stage{i}")
            level = conv(adaptive_average_pool(x, bins), train)
            pooled.append(resize(level, (x.shape[1], x.shape[2])))
        joined = jnp.concatenate([x, *reversed(pooled)], axis=-1)
        return self.blocks.conv(self.blocks.channels(512), name="bottleneck")(joined, train)


class SemanticContext(nn.Module):
    """Where foreground, transition and background are, from the encoder's coarsest map.

    The pyramid's context joins every stage but the last through a side path of its own.
    """

    blocks: Blocks

    @nn.compact
    def __call__(self, coarsest: jax.Array, train: bool) -> tuple[jax.Array, list[jax.Array]]:
        """[B, h, w, C] -> logits [B, 32h, 32w, 3] and the maps of the five stages."""
        context = PyramidPooling(self.blocks, name="psp")(coarsest, train)
        joined, maps = [context, coarsest], []
        for i, features in enumerate(_STAGES):
            stage = Stage(features, self.blocks, 2 if i == 0 else 1, name=f"stage{i}")
            maps.append(stage(jnp.concatenate(joined, axis=-1), train))
            if i < len(_SIDES):
                side = self.blocks.conv(self.blocks.channels(_SIDES[i]), name=f"side{i}")
                joined = [upsample(side(context, train), 2 ** (i + 1)), maps[-1]]
        return Head(3, self.blocks, name="head")(maps[-1], train), maps


def fuse(semantic: jax.Array, detail: jax.Array) -> jax.Array:
    """The matte [B, H, W, 1]: `detail` in the transition, else 1 or 0 by the class.

    The class is the argmax, the first of equals. So no gradient reaches the SCB, nor the detail
    outside of the transition.

    Args:
      semantic: probabilities [B, H, W, 3] of foreground, transition, background.
      detail: [B, H, W, 1].
    """
    chosen = jnp.argmax(semantic, axis=-1, keepdims=True)
    return jnp.where(chosen == TRANSITION, detail, jnp.where(chosen == FOREGROUND, 1.0, 0.0))

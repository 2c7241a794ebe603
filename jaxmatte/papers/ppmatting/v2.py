"""PP-MattingV2 (PaddleSeg 2022): one decoder over STDC1, fed by attention on a tiny map.

Every level of the decoder weighs its inputs against each other (multi-level feature fusion); the
two finest also see the picture.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.encoders.stdc import STDC1
from jaxmatte.layers import adaptive_average_pool, average_pool, resize, upsample
from jaxmatte.papers.contract import Outputs
from jaxmatte.papers.ppmatting.blocks import Blocks

_HEADS = 8


class Attention(nn.Module):
    """Self-attention of eight heads; as released, the scores are not divided by sqrt(d)."""

    blocks: Blocks

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        batch, height, width, channels = x.shape

        def projected(features: int, name: str) -> jax.Array:
            conv = self.blocks.conv(
                self.blocks.channels(features), 1, use_bias=False, activation=None, name=name
            )
            return conv(x, train).reshape(batch, height * width, _HEADS, -1)

        query, key = projected(128, "query"), projected(128, "key")
        scores = jnp.einsum("bihd,bjhd->bhij", query, key, preferred_element_type=jnp.float32)
        weights = nn.softmax(scores).astype(x.dtype)
        mixed = jnp.einsum("bhij,bjhd->bihd", weights, projected(256, "value"))
        merge = self.blocks.conv(
            channels,
            1,
            use_bias=False,
            activation=None,
            scale_init=nn.initializers.zeros,
            name="merge",
        )
        return merge(nn.relu6(mixed.reshape(batch, height, width, -1)), train)


class Perceptron(nn.Module):
    """Twice the channels, a depthwise convolution, and back."""

    blocks: Blocks

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        channels, hidden = x.shape[-1], 2 * x.shape[-1]
        bare = {"use_bias": False, "activation": None}
        x = self.blocks.conv(hidden, 1, name="expand", **bare)(x, train)
        x = nn.relu6(self.blocks.plain(hidden, groups=hidden, name="depthwise")(x))
        return self.blocks.conv(channels, 1, name="reduce", **bare)(x, train)


class DoublePyramidPool(nn.Module):
    """Context: all maps pooled to 1/64, then attention on grids of 2, 4 and 6 bins of that."""

    blocks: Blocks

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], train: bool) -> jax.Array:
        """Maps at 1/4, 1/8, 1/16, 1/32 -> [B, H / 64, W / 64, 256]."""
        pooled = [average_pool(x, 2 ** (4 - i)) for i, x in enumerate(maps)]
        channels = self.blocks.channels(256)
        middle = self.blocks.conv(channels, 1, activation=None, name="middle")
        x = middle(jnp.concatenate(pooled, axis=-1), train)
        total = x
        for i, bins in enumerate((2, 4, 6)):
            grid = adaptive_average_pool(x, bins)
            grid += Attention(self.blocks, name=f"attention{i}")(grid, train)
            grid += Perceptron(self.blocks, name=f"perceptron{i}")(grid, train)
            total += resize(grid, (x.shape[1], x.shape[2]))
        return self.blocks.conv(channels, 1, name="output")(total, train)


class LevelFusion(nn.Module):
    """Multi-level feature fusion (MLFF): every input is weighed by a map, then all are merged.

    Attributes:
      middle: channels that each input gets.
      features: channels out.
    """

    middle: tuple[int, ...]
    features: int
    blocks: Blocks

    @nn.compact
    def __call__(self, inputs: Sequence[jax.Array], train: bool) -> jax.Array:
        """Maps of any resolution, the first one's is kept -> [B, H, W, features]."""
        _, *shape, _ = inputs[0].shape
        levels, count = [], len(inputs)
        for i, (x, channels) in enumerate(zip(inputs, self.middle, strict=True)):
            pointwise = self.blocks.conv(
                channels, 1, use_bias=False, activation=None, name=f"pointwise{i}"
            )
            x = _brought(pointwise(x, train), (shape[0], shape[1]))
            depthwise = self.blocks.conv(
                channels, groups=channels, use_bias=False, name=f"depthwise{i}"
            )
            levels.append(depthwise(x, train))
        seen = [pool(x, axis=-1, keepdims=True) for x in levels for pool in (jnp.mean, jnp.max)]
        weights = self.blocks.conv(count, use_bias=False, name="attention1")(
            jnp.concatenate(seen, axis=-1), train
        )
        weights = self.blocks.conv(count, use_bias=False, activation=None, name="attention2")(
            weights, train
        )
        weights = nn.sigmoid(weights)
        weighed = [x * weights[..., i : i + 1] for i, x in enumerate(levels)]
        merge = self.blocks.conv(self.features, use_bias=False, name="merge")
        return merge(jnp.concatenate(weighed, axis=-1), train)


def _brought(x: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Bilinear enlargement to `shape`; the fast form where the factor is whole."""
    factor = shape[0] // x.shape[1]
    if (x.shape[1] * factor, x.shape[2] * factor) == shape:
        return upsample(x, factor)
    return resize(x, shape)


class MattingHead(nn.Module):
    """3x3 convolutions, then the logits, in float32."""

    features: tuple[int, ...]
    blocks: Blocks

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, 1]."""
        for i, features in enumerate(self.features, start=1):
            x = self.blocks.conv(features, use_bias=False, name=f"layer{i}")(x, train)
        return self.blocks.plain(1, 1, use_bias=False, dtype=jnp.float32, name="logits")(x)


class MattingV2(nn.Module):
    """The network."""

    blocks: Blocks

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> Outputs:
        """Mattes a picture.

        Args:
          image: [B, H, W, 3] in -1..1; H and W multiples of 32, 64 or more.
          train: whether batch statistics are used and updated.

        Returns:
          alpha [B, H, W, 1], the sigmoid of alpha_logits; auxiliary [B, H / 8, W / 8, 1], the
          sigmoid of auxiliary_logits: the matte of the level at 1/8, which only training reads.
        """
        channels = self.blocks.channels
        half, quarter, *coarse = self.blocks.encoder(STDC1)(image, train)
        context = DoublePyramidPool(self.blocks, name="dpp")([quarter, *coarse], train)

        def level(name: str, middle: int, features: int, *inputs: jax.Array) -> jax.Array:
            """Inputs of 3 channels are the picture and stay that wide."""
            sizes = tuple(3 if x.shape[-1] == 3 else channels(middle) for x in inputs)
            fusion = LevelFusion(sizes, channels(features), self.blocks, name=name)
            return fusion(inputs, train)

        x = level("fusion32", 256, 128, coarse[2], context)
        x = level("fusion16", 128, 96, coarse[1], x, context)
        eighth = x = level("fusion8", 96, 64, coarse[0], x, context)
        x = level("fusion4", 64, 32, quarter, x, average_pool(image, 4))
        x = level("fusion2", 32, 16, half, x, average_pool(image, 2))
        x = jnp.concatenate([upsample(x, 2), image.astype(x.dtype)], axis=-1)
        logits = MattingHead((channels(8),) * 2, self.blocks, name="head")(x, train)
        auxiliary = MattingHead((channels(32),), self.blocks, name="auxiliary_head")(eighth, train)
        return {
            "alpha": nn.sigmoid(logits),
            "auxiliary": nn.sigmoid(auxiliary),
            "alpha_logits": logits,
            "auxiliary_logits": auxiliary,
        }

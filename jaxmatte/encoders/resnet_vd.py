"""ResNet-vd (He et al. 2019, arXiv 1812.01187) as PaddleSeg builds it, and its basic block.

Against ResNet: three 3x3 convolutions for a stem, and shortcuts that average before they project.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.layers import (
    ConvNormRelu,
    Dtype,
    average_pool,
    kaiming_normal_fan_in,
    max_pool,
    scaled,
)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Attributes:
      features: channels out.
      conv: makes a convolution with normalisation and ReLU.
      stride: 1 or 2.
      project: whether the shortcut has a 1x1 convolution; behind a mean of 2x2 pixels where the
        stride is 2.
    """

    features: int
    conv: Callable[..., nn.Module]
    stride: int = 1
    project: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        y = self.conv(self.features, stride=self.stride, name="layer1")(x, train)
        y = self.conv(self.features, activation=None, name="layer2")(y, train)
        if self.project:
            x = x if self.stride == 1 else average_pool(x, self.stride)
            x = self.conv(self.features, 1, activation=None, name="shortcut")(x, train)
        return nn.relu(x + y)


class ResNetVd(nn.Module):
    """The stem and four stages of basic blocks -> maps at strides 2, 4, 8, 16 and 32."""

    counts: tuple[int, int, int, int]
    width: float = 1.0
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    unbiased: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """[B, H, W, 3], H and W multiples of 32 -> maps of 64, 64, 128, 256, 512 channels."""
        conv = partial(
            ConvNormRelu,
            use_bias=False,
            kernel_init=kaiming_normal_fan_in,
            dtype=self.dtype,
            bn_axis=self.bn_axis,
            unbiased=self.unbiased,
        )
        x = image
        for i, features in enumerate((32, 32, 64), start=1):
            stride = 2 if i == 1 else 1
            x = conv(scaled(features, self.width), stride=stride, name=f"stem{i}")(x, train)
        maps = [x]
        x = max_pool(x, window=3, stride=2, padding=1)
        for stage, count in enumerate(self.counts, start=1):
            features = scaled(32 * 2**stage, self.width)
            for i in range(count):
                stride, first = 2 if stage > 1 and i == 0 else 1, i == 0
                block = BasicBlock(features, conv, stride, first, name=f"stage{stage}_block{i}")
                x = block(x, train)
            maps.append(x)
        return tuple(maps)


ResNet34Vd = partial(ResNetVd, (3, 4, 6, 3))

# Rewrites one of our modules' paths to PaddleSeg's.
_STAGES = tuple((rf"stage{i}_block(\d)", rf"bb_{i - 1}_\1") for i in (1, 2, 3, 4))
PADDLE = (
    (r"stem(\d)", r"conv1_\1"),
    *((rf"{block}/layer1", rf"{name}.conv0") for block, name in _STAGES),
    *((rf"{block}/layer2", rf"{name}.conv1") for block, name in _STAGES),
    *((rf"{block}/shortcut", rf"{name}.short") for block, name in _STAGES),
)

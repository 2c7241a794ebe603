"""DenseNet-121 (Huang et al. 2017) in torchvision's layout, without its first pooling."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.layers import (
    BatchNorm,
    Conv,
    ConvNormRelu,
    Dtype,
    average_pool,
    kaiming_normal_fan_in,
    max_pool,
    scaled,
)


class NormReluConv(nn.Module):
    """Batch normalisation, ReLU, convolution without bias: the pre-activation order."""

    features: int
    kernel_size: int
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features]."""
        x = nn.relu(BatchNorm(axis_name=self.bn_axis, dtype=self.dtype, name="norm")(x, train))
        return Conv(
            self.features,
            self.kernel_size,
            use_bias=False,
            kernel_init=kaiming_normal_fan_in,
            dtype=self.dtype,
            name="conv",
        )(x)


class DenseBlock(nn.Module):
    """`count` layers; each adds `growth` channels to all that came before it."""

    count: int
    growth: int
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C + count * growth]."""
        conv = partial(NormReluConv, dtype=self.dtype, bn_axis=self.bn_axis)
        for i in range(1, self.count + 1):
            y = conv(4 * self.growth, 1, name=f"layer{i}_bottleneck")(x, train)
            y = conv(self.growth, 3, name=f"layer{i}")(y, train)
            x = jnp.concatenate([x, y], axis=-1)
        return x


class DenseNet121(nn.Module):
    """The stem and the four dense blocks -> maps at strides 2, 4, 8, 16 and 32.

    With the pooling after the stem left out, every block works at twice its usual resolution;
    a convolution and a 2x2 max pooling, not part of DenseNet, bring the last map to stride 32.
    """

    counts: tuple[int, int, int, int] = (6, 12, 24, 16)
    width: float = 1.0
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> five maps; 64, 128, 256, 512 and 512 channels."""
        rest: dict[str, Any] = {"dtype": self.dtype, "bn_axis": self.bn_axis}
        stem = ConvNormRelu(
            scaled(64, self.width),
            kernel_size=7,
            stride=2,
            use_bias=False,
            kernel_init=kaiming_normal_fan_in,
            name="stem",
            **rest,
        )
        x = stem(image, train)
        maps = [x]
        for i, count in enumerate(self.counts, start=1):
            x = DenseBlock(count, scaled(32, self.width), name=f"block{i}", **rest)(x, train)
            if i < len(self.counts):
                halve = NormReluConv(x.shape[-1] // 2, 1, name=f"transition{i}", **rest)
                x = average_pool(halve(x, train), 2)
                maps.append(x)
        x = ConvNormRelu(scaled(512, self.width), name="reduction", **rest)(x, train)
        maps.append(max_pool(x, window=2, stride=2, ceil_mode=True))
        return tuple(maps)


# Rewrites one of our modules' paths to torchvision's.
TORCHVISION = (
    (r"stem/(conv|norm)$", r"features.\g<1>0"),
    (r"block(\d)/layer(\d+)_bottleneck/(conv|norm)$", r"features.denseblock\1.denselayer\2.\g<3>1"),
    (r"block(\d)/layer(\d+)/(conv|norm)$", r"features.denseblock\1.denselayer\2.\g<3>2"),
    (r"transition(\d)/(conv|norm)$", r"features.transition\1.\2"),
)

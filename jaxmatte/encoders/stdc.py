"""STDC1 (Fan et al. 2021, arXiv 2104.13188): short-term dense concatenation."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.layers import ConvNormRelu, Dtype, average_pool, kaiming_normal_fan_in, scaled


class DenseConcatenation(nn.Module):
    """Four convolutions, each on the last one's output; all four outputs are concatenated.

    With stride 2 the first one's output is reduced on both ways: by a depthwise convolution on the
    way to the second, by a mean of 3x3 pixels on the way out.
    """

    features: int
    conv: Callable[..., nn.Module]
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        first = self.conv(self.features // 2, 1, name="layer0")(x, train)
        outputs, x = [first], first
        if self.stride == 2:
            reduce = self.conv(
                x.shape[-1], stride=2, groups=x.shape[-1], activation=None, name="reduce"
            )
            x = reduce(x, train)
            # Padding does not count in Paddle's means.
            outputs = [average_pool(first, 3, 2, padding=1, count_padding=False)]
        for i, share in enumerate((4, 8, 8), start=1):
            x = self.conv(self.features // share, name=f"layer{i}")(x, train)
            outputs.append(x)
        return jnp.concatenate(outputs, axis=-1)


class STDC1(nn.Module):
    """Two convolutions and six blocks -> maps at strides 2, 4, 8, 16 and 32."""

    width: float = 1.0
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    unbiased: bool = False

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """[B, H, W, 3], H and W multiples of 32 -> maps of 32, 64, 256, 512, 1024 channels."""
        conv = partial(
            ConvNormRelu,
            use_bias=False,
            kernel_init=kaiming_normal_fan_in,
            dtype=self.dtype,
            bn_axis=self.bn_axis,
            unbiased=self.unbiased,
        )
        x, maps = image, []
        for i, features in enumerate((32, 64)):
            x = conv(scaled(features, self.width), stride=2, name=f"stage{i}")(x, train)
            maps.append(x)
        for i, features in enumerate((256, 512, 1024)):
            for half, stride in enumerate((2, 1)):
                name = f"stage{2 * (i + 1) + half}"
                block = DenseConcatenation(scaled(features, self.width), conv, stride, name=name)
                x = block(x, train)
            maps.append(x)
        return tuple(maps)


# Rewrites one of our modules' paths to PaddleSeg's.
PADDLE = (
    (r"stage(\d)/layer(\d)", r"features.\1.conv_list.\2"),
    (r"stage(\d)/reduce", r"features.\1.avd_layer"),
    (r"stage(\d)", r"features.\1"),
)

"""MobileNetV2 (Sandler et al. 2018) in torchvision's layout, without its classifier."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxmatte.layers import ConvNormRelu, Dtype, kaiming_normal_fan_out, scaled

# Expansion, channels, blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen by a 1x1, filter each channel by a 3x3, narrow by a linear 1x1, add the input."""

    features: int
    stride: int = 1
    expansion: int = 6
    kernel_init: Initializer = kaiming_normal_fan_out
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        rest: dict[str, Any] = {
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
            "bn_axis": self.bn_axis,
        }
        conv: Any = partial(ConvNormRelu, use_bias=False, **rest)
        y, hidden = x, self.expansion * x.shape[-1]
        if self.expansion != 1:
            y = conv(hidden, 1, activation=nn.relu6, name="expand")(y, train)
        filters = {"groups": hidden, "activation": nn.relu6}
        y = conv(hidden, 3, self.stride, self.dilation, **filters, name="depthwise")(y, train)
        y = conv(self.features, 1, activation=None, name="project")(y, train)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


class MobileNetV2(nn.Module):
    """The features -> maps at strides 2, 4, 8, 16 and 32.

    Attributes:
      width: multiplies all channels, to whole multiples of 8; the last 1280 too, which
        torchvision's narrow ones keep.
      kernel_init: of every convolution; the default is torchvision's.
      output_stride: 32, or 16 or 8: what would halve further dilates instead, and gives no map of
        its own. As in torchvision's ResNets, the block that would halve is not dilated yet.
      last: whether the 1x1 convolution to 1280 channels ends it.
    """

    width: float = 1.0
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    kernel_init: Initializer = kaiming_normal_fan_out
    output_stride: int = 32
    last: bool = True

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """[B, H, W, C] -> five maps; 16, 24, 32, 96, 1280 channels."""
        rest: dict[str, Any] = {
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
            "bn_axis": self.bn_axis,
        }
        conv: Any = partial(ConvNormRelu, use_bias=False, activation=nn.relu6, **rest)
        x = conv(scaled(32, self.width), 3, 2, name="stem")(image, train)
        maps, number, reached, dilation = [], 0, 2, 1
        for expansion, channels, count, first_stride in STAGES:
            for i in range(count):
                number += 1
                features, stride = scaled(channels, self.width), first_stride if i == 0 else 1
                own = dilation
                if stride == 2 and reached == self.output_stride:
                    stride, dilation = 1, 2 * dilation
                elif stride == 2:  # the last map before each halving is what decoders read
                    maps.append(x)
                    reached *= 2
                block = partial(InvertedResidual, features, stride, expansion, dilation=own)
                x = block(name=f"block{number}", **rest)(x, train)
        if not self.last:
            return (*maps, x)
        return (*maps, conv(scaled(1280, self.width), 1, name="last")(x, train))


def _names(places: Iterable[tuple[str, str, str]]) -> tuple[tuple[str, str], ...]:
    """Rules for our modules, from a layer, its convolution's place and its normalisation's."""
    return tuple(
        (rf"{layer}/{kind}$", place)
        for layer, *both in places
        for kind, place in zip(("conv", "norm"), both, strict=True)
    )


_ENDS = (("stem", "features.0.0", "features.0.1"), ("last", "features.18.0", "features.18.1"))

# Rewrites one of our modules' paths to torchvision's.
TORCHVISION = _names(
    (
        *_ENDS,
        ("block1/depthwise", "features.1.conv.0.0", "features.1.conv.0.1"),
        ("block1/project", "features.1.conv.1", "features.1.conv.2"),
        (r"block(\d+)/expand", r"features.\1.conv.0.0", r"features.\1.conv.0.1"),
        (r"block(\d+)/depthwise", r"features.\1.conv.1.0", r"features.\1.conv.1.1"),
        (r"block(\d+)/project", r"features.\1.conv.2", r"features.\1.conv.3"),
    )
)

# The same for the older layout, in which a block is one flat sequence, activations counted.
FLAT = _names(
    (
        *_ENDS,
        ("block1/depthwise", "features.1.conv.0", "features.1.conv.1"),
        ("block1/project", "features.1.conv.3", "features.1.conv.4"),
        (r"block(\d+)/expand", r"features.\1.conv.0", r"features.\1.conv.1"),
        (r"block(\d+)/depthwise", r"features.\1.conv.3", r"features.\1.conv.4"),
        (r"block(\d+)/project", r"features.\1.conv.6", r"features.\1.conv.7"),
    )
)

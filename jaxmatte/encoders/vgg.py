"""VGG-16 (Simonyan and Zisserman 2015), its 13 convolutions, with poolings that can be undone."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxmatte.errors import UserError
from jaxmatte.layers import Conv, ConvNormRelu, Dtype, kaiming_normal_fan_out, scaled

# Channels of the convolutions, stage by stage; each stage ends in a pooling.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

# Places of a window of 2 x 2, in row-major order; a place is known by its number.
_PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))


@jax.custom_vjp
def pool(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maxima of windows of 2 x 2, and which of the four each was.

    Of equal ones the first in row-major order wins, as in PyTorch (behind a ReLU many windows are
    all 0), and it alone has the gradient. NaN wins over all, so that it is not lost.

    Args:
      x: [B, H, W, C]; H and W even.

    Returns:
      Maxima [B, H / 2, W / 2, C], and their places in their windows, 0 to 3, of the same shape.
    """
    windows = _windows(x)
    best = windows[:, :, 0, :, 0]
    index = jnp.zeros(best.shape, jnp.uint8)
    for place, (row, column) in enumerate(_PLACES[1:], start=1):
        value = windows[:, :, row, :, column]
        better = (value > best) | jnp.isnan(value)
        best, index = jnp.where(better, value, best), jnp.where(better, jnp.uint8(place), index)
    return best, index


@jax.custom_vjp
def unpool(x: jax.Array, index: jax.Array) -> jax.Array:
    """Puts each value at its place in a window of 2 x 2 zeros, where `pool` had found it.

    The place within a window needs no scatter: four numbers are compared. The gradient of either
    function is the other one's work.

    Args:
      x: [B, H, W, C].
      index: [B, H, W, C], 0 to 3, in row-major order.

    Returns:
      [B, 2 H, 2 W, C].
    """
    batch, height, width, channels = x.shape
    places = jnp.arange(4, dtype=jnp.uint8).reshape(2, 1, 2, 1)
    windows = jnp.where(index[:, :, None, :, None] == places, x[:, :, None, :, None], 0)
    return windows.reshape(batch, 2 * height, 2 * width, channels)


def _windows(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H / 2, 2, W / 2, 2, C]."""
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise UserError(f"vgg: a map of {height} x {width} has no whole windows of 2 x 2")
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels)


def _picked(x: jax.Array, index: jax.Array) -> jax.Array:
    """Of each window of [B, H, W, C] the value at its place: [B, H / 2, W / 2, C]."""
    windows = _windows(x)
    picked = windows[:, :, 0, :, 0]
    for place, (row, column) in enumerate(_PLACES[1:], start=1):
        picked = jnp.where(index == place, windows[:, :, row, :, column], picked)
    return picked


def _pool_forward(x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    best, index = pool(x)
    return (best, index), index


def _pool_backward(index: jax.Array, gradients: tuple[jax.Array, Any]) -> tuple[jax.Array]:
    return (unpool(gradients[0], index),)


def _unpool_forward(x: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
    return unpool(x, index), index


def _unpool_backward(index: jax.Array, gradient: jax.Array) -> tuple[jax.Array, None]:
    return _picked(gradient, index), None


pool.defvjp(_pool_forward, _pool_backward)
unpool.defvjp(_unpool_forward, _unpool_backward)


class VGG16(nn.Module):
    """The features, with what a decoder needs to undo the poolings.

    Attributes:
      norm: batch normalisation behind every convolution (torchvision's vgg16_bn).
      width: multiplies all channels.
      kernel_init: of every convolution; the default is torchvision's.
    """

    norm: bool = False
    width: float = 1.0
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    kernel_init: Initializer = kaiming_normal_fan_out

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool
    ) -> tuple[jax.Array, tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """[B, H, W, C] of any number of channels; H and W multiples of 32.

        Returns:
          The features [B, H / 32, W / 32, 512]; each stage's map before its pooling, at strides 1
          to 16; the places of each pooling, at strides 2 to 32.
        """
        maps, places = [], []
        for stage, channels in enumerate(STAGES, start=1):
            for number, features in enumerate(channels, start=1):
                x = self._layer(x, features, f"conv{stage}_{number}", train)
            maps.append(x)
            x, index = pool(x)
            places.append(index)
        return x, tuple(maps), tuple(places)

    def _layer(self, x: jax.Array, features: int, name: str, train: bool) -> jax.Array:
        shared: dict[str, Any] = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        features = scaled(features, self.width)
        if self.norm:
            return ConvNormRelu(features, bn_axis=self.bn_axis, name=name, **shared)(x, train)
        return nn.relu(Conv(features, bias_init=nn.initializers.zeros, name=name, **shared)(x))


def _torchvision(norm: bool) -> tuple[tuple[str, str], ...]:
    """Rules that rewrite one of our modules' paths to torchvision's, where layers are counted."""
    rules, place = [], 0
    for stage, channels in enumerate(STAGES, start=1):
        for number in range(1, len(channels) + 1):
            layer = f"conv{stage}_{number}"
            rules.append((f"{layer}(/conv)?$", f"features.{place}"))
            if norm:
                rules.append((f"{layer}/norm$", f"features.{place + 1}"))
            place += 3 if norm else 2  # convolution, normalisation, ReLU
        place += 1  # pooling
    return tuple(rules)


TORCHVISION, TORCHVISION_NORM = _torchvision(norm=False), _torchvision(norm=True)

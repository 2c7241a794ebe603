"""What all three networks are made of, as PaddleSeg's layers compute it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.layers import (
    BatchNorm,
    Conv,
    ConvNormRelu,
    Dtype,
    kaiming_normal_fan_in,
    scaled,
    upsample,
)

_INIT = {"kernel_init": kaiming_normal_fan_in}


class Blocks(NamedTuple):
    """Makes the layers of one network: kernels by He's rule, statistics as Paddle keeps them."""

    width: float
    dtype: Dtype
    bn_axis: str | None

    def channels(self, count: int) -> int:
        """`count` channels of the paper, as this network has them."""
        return scaled(count, self.width)

    def conv(self, *arguments: Any, **fields: Any) -> ConvNormRelu:
        """Convolution, normalisation, ReLU."""
        return ConvNormRelu(*arguments, **{**_INIT, **self._norm(), **fields})

    def plain(self, *arguments: Any, **fields: Any) -> Conv:
        """A convolution alone."""
        return Conv(*arguments, **{**_INIT, "dtype": self.dtype, **fields})

    def norm(self, **fields: Any) -> BatchNorm:
        """A normalisation alone."""
        shared = self._norm()
        return BatchNorm(axis_name=shared.pop("bn_axis"), **shared, **fields)

    def encoder(self, encoder: Callable[..., nn.Module], **fields: Any) -> nn.Module:
        """The encoder of this network."""
        shared = self._norm()
        return encoder(width=self.width, name="encoder", **shared, **fields)

    def _norm(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "bn_axis": self.bn_axis, "unbiased": False}


class Stage(nn.Module):
    """Three 3x3 convolutions with normalisation and ReLU, then twice the resolution."""

    features: tuple[int, int, int]
    blocks: Blocks
    dilation: int = 1  # of the second and the third

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, 2H, 2W, features[-1]]."""
        for i, features in enumerate(self.features):
            dilation = 1 if i == 0 else self.dilation
            conv = self.blocks.conv(
                self.blocks.channels(features), dilation=dilation, name=f"layer{i}"
            )
            x = conv(x, train)
        return upsample(x, 2)


class Head(nn.Module):
    """Two convolutions with normalisation and ReLU, then the logits, in float32."""

    outputs: int
    blocks: Blocks

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, outputs]."""
        for i in range(2):
            x = self.blocks.conv(self.blocks.channels(64), name=f"layer{i}")(x, train)
        return self.blocks.plain(self.outputs, dtype=jnp.float32, name="logits")(x)

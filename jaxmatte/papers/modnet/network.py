"""MODNet's network: a backbone, and three branches that each solve a part of the problem."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import variance_scaling

from jaxmatte.encoders import hrnet, mobilenet, resnet
from jaxmatte.errors import UserError
from jaxmatte.layers import (
    BatchNorm,
    Conv,
    ConvNormRelu,
    Dtype,
    SqueezeExcite,
    downsample,
    scaled,
    upsample,
)
from jaxmatte.papers.contract import Outputs, require_sides

# He et al. 2015, uniform, by the inputs: every convolution, those of MobileNetV2 too.
kaiming_uniform_fan_in = variance_scaling(2.0, "fan_in", "uniform")

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v2": partial(mobilenet.MobileNetV2, kernel_init=kaiming_uniform_fan_in),
    "resnet34": resnet.ResNet34,
    "resnet50": resnet.ResNet50,
    "resnet101": resnet.ResNet101,
    "hrnet_w18": partial(hrnet.HRNet, 18),
}
VARIANTS = ("released", "easpp")
RATES = (1, 6, 12, 18)
CHANNELS = 32  # of the branches

_EPSILON = 1e-5


# Kernels and biases as the authors start them.
_Conv = partial(Conv, kernel_init=kaiming_uniform_fan_in, bias_init=nn.initializers.zeros)


def instance_norm(x: jax.Array) -> jax.Array:
    """Each channel of each picture [B, H, W, C] by its own mean and biased variance."""
    values = x.astype(jnp.float32)
    values -= values.mean((1, 2), keepdims=True)
    variance = jnp.square(values).mean((1, 2), keepdims=True)
    return (values * lax.rsqrt(variance + _EPSILON)).astype(x.dtype)


class Block(nn.Module):
    """Convolution, normalisation, ReLU.

    The first half of the channels is normalised over the batch, the other over each picture
    (IBNorm): between colours, which content needs, and its shading, which it does not.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        conv = _Conv(self.features, self.kernel_size, self.stride, dtype=self.dtype, name="conv")
        # As in `ConvNormRelu`: normalisation takes the bias out, its gradient would be rounding.
        x = conv(x, not train)
        shared = self.features // 2
        norm = BatchNorm(axis_name=self.bn_axis, dtype=self.dtype, name="norm")
        parts = [norm(x[..., :shared], train), instance_norm(x[..., shared:])]
        return nn.relu(jnp.concatenate(parts, axis=-1))


class EfficientASPP(nn.Module):
    """e-ASPP: context at several dilations, for about a hundredth of an ASPP's cost.

    The paper says how it is made cheap, not with which numbers: channels are cut to a quarter,
    dilated convolutions look at each channel by itself, their results are first mixed channel by
    channel and then, in one go, across channels, which restores their number.
    """

    rates: Sequence[int]
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        channels = x.shape[-1]
        fewer = channels // 4
        x = self.conv(fewer, 1, name="reduce")(x, train)
        scales = [
            self.conv(fewer, 3, dilation=rate, groups=fewer, name=f"atrous{i}")(x, train)
            for i, rate in enumerate(self.rates)
        ]
        # All scales of a channel lie beside each other: they are a group of the next convolution.
        stacked = jnp.stack(scales, axis=-1).reshape(*x.shape[:-1], -1)
        fused = self.conv(fewer, 1, groups=fewer, name="fuse")(stacked, train)
        return self.conv(channels, 1, name="point")(fused, train)


class SemanticBranch(nn.Module):
    """Where the person is, coarsely: the low-resolution branch, from the coarsest map alone."""

    variant: str
    rates: Sequence[int]
    block: Callable[..., nn.Module]
    dtype: Dtype
    bn_axis: str | None

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, jax.Array]:
        """The encoder's maps -> a map at 1/8 for the others, logits [B, H / 16, W / 16, 1]."""
        if self.variant == "easpp":
            conv = partial(
                ConvNormRelu,
                use_bias=False,
                kernel_init=kaiming_uniform_fan_in,
                dtype=self.dtype,
                bn_axis=self.bn_axis,
            )
            x = EfficientASPP(self.rates, conv, name="easpp")(maps[4], train)
        else:
            x = SqueezeExcite(reduction=4, dtype=self.dtype, name="attention")(maps[4])
        x = self.block(maps[3].shape[-1], 5, name="at16")(upsample(x, 2), train)
        x = self.block(maps[2].shape[-1], 5, name="at8")(upsample(x, 2), train)
        return x, _Conv(1, 3, 2, dtype=self.dtype, name="head")(x)


class DetailBranch(nn.Module):
    """The boundary: the high-resolution branch, from the picture and the finest maps."""

    channels: int
    block: Callable[..., nn.Module]
    dtype: Dtype

    @nn.compact
    def __call__(
        self, image: jax.Array, maps: tuple[jax.Array, ...], semantic: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Image, encoder's maps, the semantic map at 1/8 -> map at 1/2, logits [B, H, W, 1]."""
        few, many = self.channels, 2 * self.channels
        finest = self.block(few, 1, name="encoder2")(maps[0], train)
        x = self.block(few, stride=2, name="down2")(_joined(downsample(image, 2), finest), train)
        x = _joined(x, self.block(few, 1, name="encoder4")(maps[1], train))
        x = self.block(many, name="merge4")(x, train)
        x = _joined(x, upsample(semantic, 2), downsample(image, 4))
        for i, features in enumerate((many, many, few)):
            x = self.block(features, name=f"at4_{i}")(x, train)
        x = _joined(upsample(x, 2), finest)
        for i, features in enumerate((many, few, few, few)):
            x = self.block(features, name=f"at2_{i}")(x, train)
        y = self.block(few, name="at1")(_joined(upsample(x, 2), image), train)
        return x, _Conv(1, 1, dtype=self.dtype, name="head")(y)


class FusionBranch(nn.Module):
    """The matte, of what the other two know."""

    channels: int
    block: Callable[..., nn.Module]
    dtype: Dtype

    @nn.compact
    def __call__(
        self, image: jax.Array, semantic: jax.Array, detail: jax.Array, train: bool
    ) -> jax.Array:
        """Image, semantic map at 1/8, detail map at 1/2 -> logits [B, H, W, 1]."""
        x = self.block(self.channels, 5, name="at4")(upsample(semantic, 2), train)
        x = self.block(self.channels, name="at2")(_joined(upsample(x, 2), detail), train)
        x = self.block(self.channels // 2, name="at1")(_joined(upsample(x, 2), image), train)
        return _Conv(1, 1, dtype=self.dtype, name="head")(x)


def _joined(*maps: jax.Array) -> jax.Array:
    return jnp.concatenate(maps, axis=-1)


class Model(nn.Module):
    """The network.

    Attributes:
      encoder: "mobilenet_v2", the paper's; "resnet34", "resnet50", "resnet101" or "hrnet_w18".
      variant: what the coarsest map goes through: "released", the channel attention of the
        published weights, or "easpp", the e-ASPP of the paper's last version.
      rates: of e-ASPP, the dilations.
      width: multiplies all channels; 1.0 is the paper.
      dtype: what the network computes in; the outputs are float32.
      bn_axis: the mapped axis whose replicas share their batch statistics.
    """

    encoder: str = "mobilenet_v2"
    variant: str = "released"
    rates: tuple[int, ...] = RATES
    width: float = 1.0
    dtype: str = "float32"
    bn_axis: str | None = None

    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self):
        for name, choices in (("encoder", tuple(ENCODERS)), ("variant", VARIANTS)):
            value = getattr(self, name)
            if value not in choices:
                raise UserError(f"modnet: {name}={value!r} must be one of {', '.join(choices)}")
        if not self.rates or min(self.rates) < 1:
            raise UserError(f"modnet: rates={tuple(self.rates)} must be dilations of 1 or more")
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> Outputs:
        """Mattes a picture.

        Args:
          image: [B, H, W, 3] in 0..1, RGB; H and W multiples of 32.
          train: whether batch statistics are used and updated.

        Returns:
          alpha [B, H, W, 1]; semantic [B, H / 16, W / 16, 1], the coarse matte; detail
          [B, H, W, 1], which means something only where the matte is in transition.
        """
        require_sides("modnet", image)
        dtype = jnp.dtype(self.dtype)
        norms: dict[str, Any] = {"dtype": dtype, "bn_axis": self.bn_axis}
        block, channels = partial(Block, **norms), scaled(CHANNELS, self.width)

        image = (2.0 * image - 1.0).astype(dtype)
        maps = ENCODERS[self.encoder](width=self.width, name="encoder", **norms)(image, train)
        semantics = SemanticBranch(self.variant, self.rates, block, **norms, name="semantic")
        coarse, semantic = semantics(maps, train)
        details = DetailBranch(channels, block, dtype, name="detail")
        fine, detail = details(image, maps, coarse, train)
        fusion = FusionBranch(channels, block, dtype, name="fusion")
        alpha = fusion(image, coarse, fine, train)
        logits = {"alpha": alpha, "semantic": semantic, "detail": detail}
        return {name: nn.sigmoid(value.astype(jnp.float32)) for name, value in logits.items()}

"""BiSeNet V2's network: detail branch, semantic branch, guided aggregation, heads."""

from collections.abc import Callable, Collection
from functools import partial
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte import labels
from jaxmatte.errors import UserError
from jaxmatte.inference.bisenetv2 import matte
from jaxmatte.layers import (
    BatchNorm,
    Conv,
    ConvNormRelu,
    Dtype,
    average_pool,
    kaiming_normal_fan_in,
    kaiming_normal_fan_out,
    max_pool,
    scaled,
    upsample,
    upsample_nearest,
)
from jaxmatte.papers.contract import Outputs, require_sides

EXPANSION = 6  # of the gather-and-expansion layer

# Mean and deviation by which a picture of 0..1 is normalised.
NORMALISATIONS = {
    "cityscapes": ((0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "matting": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "custom": ((0.4, 0.4, 0.4), (0.2, 0.2, 0.2)),
}


# How the last convolutions start. The code in use goes by their outputs as everywhere: with few
# classes that makes logits of tens, and hundreds of steps are spent on bringing them down.
LOGITS = {"fan_out": kaiming_normal_fan_out, "fan_in": kaiming_normal_fan_in}


class Layout(NamedTuple):
    """Where the paper and the code in use differ."""

    expansion_relu: bool  # whether a ReLU follows the expansion of a gather-and-expansion layer
    context_norm: bool  # the context block's last convolution: with norm and ReLU, or bare
    merge_relu: bool  # whether a ReLU ends the aggregation
    enlarge: Callable[[jax.Array, int], jax.Array]  # in the aggregation
    pointwise_bias: bool  # of the aggregation's two pointwise convolutions
    widening: bool  # whether booster heads widen to the square of their factor


LAYOUTS = {
    "coincheung": Layout(True, True, True, upsample_nearest, False, True),
    "mmseg": Layout(True, True, True, upsample, True, True),
    "paper": Layout(False, False, False, upsample, False, False),
}


class Settings(NamedTuple):
    """What every part of a network needs to know."""

    layout: Layout
    width: float
    depth: float
    dropout: float
    dtype: Dtype
    bn_axis: str | None
    logits_init: str = "fan_out"

    def conv(self, features: int, size: int = 3, stride: int = 1, **fields) -> ConvNormRelu:
        """Convolution without bias, norm, ReLU; `features` as they are."""
        return ConvNormRelu(
            features,
            size,
            stride,
            use_bias=False,
            kernel_init=kaiming_normal_fan_out,
            dtype=self.dtype,
            bn_axis=self.bn_axis,
            **fields,
        )

    def bare(self, features: int, size: int = 1, bias: bool = False, **fields) -> Conv:
        """Convolution alone."""
        init = {"use_bias": bias, "kernel_init": kaiming_normal_fan_out}
        return Conv(features, size, **{"dtype": self.dtype, **init, **fields})

    def scaled(self, channels: int) -> int:
        """As many channels times the width."""
        return scaled(channels, self.width)

    def repeated(self, layers: int) -> int:
        """As many repeated layers times the depth."""
        return max(1, round(layers * self.depth))


class Detail(nn.Module):
    """The detail branch: three stages of plain convolutions, each of half the size."""

    settings: Settings

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, 3] -> [B, H / 8, W / 8, 128]."""
        for stage, (channels, layers) in enumerate(((64, 1), (64, 2), (128, 2)), start=1):
            for i in range(layers + 1):
                conv = self.settings.conv(
                    self.settings.scaled(channels), stride=1 if i else 2, name=f"stage{stage}_{i}"
                )
                x = conv(x, train)
        return x


class Stem(nn.Module):
    """Reduces fourfold, by convolution and by pooling beside each other."""

    settings: Settings

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, 3] -> [B, H / 4, W / 4, 16]."""
        conv, wide, narrow = self.settings.conv, self.settings.scaled(16), self.settings.scaled(8)
        x = conv(wide, stride=2, name="first")(x, train)
        left = conv(narrow, 1, name="left1")(x, train)
        left = conv(wide, stride=2, name="left2")(left, train)
        right = max_pool(x, 3, 2, padding=1)
        return conv(wide, name="fuse")(jnp.concatenate([left, right], axis=-1), train)


class GatherExpand(nn.Module):
    """Gather-and-expansion layer: 3x3, depthwise to six times the channels, 1x1 back.

    It begins as its shortcut: the last norm's scale starts at 0.
    """

    features: int
    stride: int
    settings: Settings

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        conv, channels = self.settings.conv, x.shape[-1]
        wide, stride = EXPANSION * channels, self.stride
        relu = nn.relu if self.settings.layout.expansion_relu else None
        first = relu if stride == 1 else None
        y = conv(channels, name="gather")(x, train)
        y = conv(wide, 3, stride, groups=channels, activation=first, name="expand")(y, train)
        if stride > 1:
            y = conv(wide, groups=wide, activation=relu, name="depthwise")(y, train)
            plain = partial(conv, activation=None)
            x = plain(channels, 3, stride, groups=channels, name="shortcut1")(x, train)
            x = plain(self.features, 1, name="shortcut2")(x, train)
        last = conv(
            self.features,
            1,
            activation=None,
            scale_init=nn.initializers.zeros,
            name="project",
        )
        return nn.relu(x + last(y, train))


class Context(nn.Module):
    """Context embedding: the mean of the whole picture is added everywhere."""

    settings: Settings

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        settings, channels = self.settings, x.shape[-1]
        mean = x.astype(jnp.float32).mean((1, 2), keepdims=True)
        mean = BatchNorm(axis_name=settings.bn_axis, dtype=settings.dtype, name="norm")(mean, train)
        x = x + settings.conv(channels, 1, name="mean")(mean, train)
        if settings.layout.context_norm:
            return settings.conv(channels, name="last")(x, train)
        return settings.bare(channels, 3, bias=True, name="last")(x)


class Semantic(nn.Module):
    """The semantic branch: stem, gather-and-expansion layers, context."""

    settings: Settings

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> maps at 1/4, 1/8, 1/16, 1/32, and the last with its context."""
        x = Stem(self.settings, name="stem")(x, train)
        maps = [x]
        for stage, (channels, layers) in enumerate(((32, 1), (64, 1), (128, 3)), start=3):
            features = self.settings.scaled(channels)
            for i in range(self.settings.repeated(layers) + 1):
                stride = 1 if i else 2
                layer = GatherExpand(features, stride, self.settings, name=f"stage{stage}_{i}")
                x = layer(x, train)
            maps.append(x)
        return (*maps, Context(self.settings, name="context")(x, train))


class Aggregation(nn.Module):
    """Bilateral guided aggregation: at each of two scales one branch gates the other."""

    settings: Settings

    @nn.compact
    def __call__(self, detail: jax.Array, semantic: jax.Array, train: bool) -> jax.Array:
        """Detail [B, H, W, C] and semantic [B, H / 4, W / 4, C] -> [B, H, W, C]."""
        settings, layout = self.settings, self.settings.layout
        channels, enlarge = detail.shape[-1], layout.enlarge
        conv = partial(settings.conv, channels, activation=None)
        bare = partial(settings.bare, channels, bias=layout.pointwise_bias)

        fine = bare(name="detail_fine2")(conv(groups=channels, name="detail_fine1")(detail, train))
        coarse = conv(stride=2, name="detail_coarse")(detail, train)
        coarse = average_pool(coarse, 3, 2, padding=1)  # PyTorch's: padding counts

        gate_fine = nn.sigmoid(enlarge(conv(name="semantic_fine")(semantic, train), 4))
        gate_coarse = conv(groups=channels, name="semantic_coarse1")(semantic, train)
        gate_coarse = nn.sigmoid(bare(name="semantic_coarse2")(gate_coarse))

        merged = fine * gate_fine + enlarge(coarse * gate_coarse, 4)
        relu = nn.relu if layout.merge_relu else None
        return settings.conv(channels, activation=relu, name="merge")(merged, train)


class Head(nn.Module):
    """Features to logits of the picture's size; logits are float32.

    `widening`: between the two, nearest enlargement by 2 and a convolution to the square of the
    factor, as the code's booster heads have it.
    """

    classes: int
    channels: int
    factor: int
    settings: Settings
    widening: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, factor * H, factor * W, classes]."""
        settings, factor = self.settings, self.factor
        x = settings.conv(settings.scaled(self.channels), name="conv")(x, train)
        x = nn.Dropout(settings.dropout, deterministic=not train)(x)
        if self.widening:
            x = settings.conv(settings.scaled(factor**2), name="widen")(
                upsample_nearest(x, 2), train
            )
            factor //= 2
        init = LOGITS[settings.logits_init]
        bare = partial(settings.bare, self.classes, bias=True, kernel_init=init, dtype=jnp.float32)
        logits = bare(name="logits")(x)
        return upsample(logits, factor)


class Model(nn.Module):
    """The network.

    Attributes:
      classes: how many classes; 2 (background, foreground) and 3 (background, unknown,
        foreground) give a matte too. 19 are Cityscapes'.
      layout: "coincheung", the code whose checkpoints are in use; "mmseg", which differs in the
        aggregation (bilinear, and biases); or "paper", its drawings taken literally.
      booster: whether there are the four auxiliary heads, which only training needs.
      dropout: of the features that a head's logits are made of, in training.
      normalisation: a key of `NORMALISATIONS`.
      head_channels: of the main head, which the paper does not give.
      logits_init: a key of `LOGITS`: "fan_out" is the code's, "fan_in" starts with small logits.
      width: multiplies all channels; 1.0 is the paper's, 2.0 its Large.
      depth: multiplies the repeated layers of the semantic branch; 1.0 is the paper's, 3.0 its
        Large.
      dtype: what the network computes in; logits are float32.
      bn_axis: the mapped axis whose replicas share their batch statistics.
    """

    classes: int = 2
    layout: str = "coincheung"
    booster: bool = True
    dropout: float = 0.1
    normalisation: str = "cityscapes"
    head_channels: int = 1024
    logits_init: str = "fan_out"
    width: float = 1.0
    depth: float = 1.0
    dtype: str = "float32"
    bn_axis: str | None = None

    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self):
        known: dict[str, Collection[str]] = {
            "layout": LAYOUTS,
            "normalisation": NORMALISATIONS,
            "logits_init": LOGITS,
        }
        for name, choices in known.items():
            value = getattr(self, name)
            if value not in choices:
                raise UserError(f"bisenetv2: {name}={value!r} must be one of {', '.join(choices)}")
        if not 2 <= self.classes <= 255:
            raise UserError(
                f"bisenetv2: classes={self.classes} must be 2 to 255: the foreground is one class "
                "of two, and 255 marks what is not looked at"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"bisenetv2: dropout={self.dropout} must be at least 0 and below 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> Outputs:
        """Segments a picture.

        Args:
          image: [B, H, W, 3] in 0..1, RGB; H and W multiples of 32.
          train: whether batch statistics are used and updated, and features dropped.

        Returns:
          logits [B, H, W, classes] and their softmax, probability; auxiliary, the logits of the
          booster heads at 1/4, 1/8, 1/16 and 1/32 (none without `booster`). With 2 or 3 classes
          also alpha [B, H, W, 1], the probability of the foreground and half of the unknown's.
        """
        require_sides("bisenetv2", image)
        settings = Settings(
            LAYOUTS[self.layout],
            self.width,
            self.depth,
            self.dropout,
            jnp.dtype(self.dtype),
            self.bn_axis,
            self.logits_init,
        )
        mean, deviation = (jnp.asarray(v) for v in NORMALISATIONS[self.normalisation])
        x = (image - mean) / deviation
        detail = Detail(settings, name="detail")(x, train)
        *stages, semantic = Semantic(settings, name="semantic")(x, train)
        merged = Aggregation(settings, name="aggregation")(detail, semantic, train)
        logits = Head(self.classes, self.head_channels, 8, settings, name="head")(merged, train)
        auxiliary = []
        for stage, features in enumerate(stages if self.booster else (), start=2):
            booster = Head(
                self.classes,
                128,
                2**stage,
                settings,
                widening=settings.layout.widening,
                name=f"auxiliary{stage}",
            )
            auxiliary.append(booster(features, train))
        probability = nn.softmax(logits)
        outputs = {"logits": logits, "auxiliary": tuple(auxiliary), "probability": probability}
        return {"alpha": matte(probability), **outputs} if self.classes in (2, 3) else outputs


def trimap(probability: jax.Array, widen: int = 0) -> jax.Array:
    """The trimap that three classes say, for papers that take one.

    Args:
      probability: [B, H, W, 3] of background, unknown and foreground.
      widen: size in pixels of the ellipse by which the unknown is widened; the border of
        foreground and background, where nothing unknown lies between them, becomes unknown too.
        0 leaves it as it is.

    Returns:
      [B, H, W, 1] in {0, 0.5, 1}.
    """
    if probability.shape[-1] != 3:
        raise UserError(
            f"bisenetv2: a trimap has 3 classes, not {probability.shape[-1]}; set task=trimap"
        )
    said = jnp.argmax(probability, axis=-1, keepdims=True).astype(jnp.float32) / 2
    return labels.trimap(said, widen) if widen else said

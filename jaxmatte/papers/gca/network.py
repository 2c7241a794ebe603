"""GCA-Matting's network: a residual U-Net under spectral normalisation, with two attentions."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.errors import UserError
from jaxmatte.layers import Conv, average_pool, scaled, upsample_nearest
from jaxmatte.papers.contract import Outputs, require_sides
from jaxmatte.papers.gca.attention import GuidedContextualAttention, xavier_uniform
from jaxmatte.papers.gca.spectral import SpectralLayer

BLOCKS = (3, 4, 4, 2)  # of the encoder's stages
BLOCKS_BACK = (2, 3, 3, 2)  # of the decoder's
TRIMAP_CHANNELS = (3, 1)

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)

leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)


def trimap_classes(trimap: jax.Array) -> jax.Array:
    """0 background, 1 unknown, 2 foreground: of a trimap in 0..1, resized ones too, its thirds."""
    return (trimap >= 85 / 255).astype(jnp.int32) + (trimap >= 170 / 255)


def normalised(image: jax.Array) -> jax.Array:
    """Colours in 0..1 by ImageNet's mean and deviation: [..., 3]."""
    return (image - jnp.asarray(_MEAN)) / jnp.asarray(_DEVIATION)


def _colours_only(key, shape, dtype=jnp.float32, out_sharding=None):
    """Glorot and Bengio's, but zeros for the trimap, which so starts without a say."""
    kernel = xavier_uniform(key, shape, dtype, out_sharding)
    return kernel.at[:, :, 3:].set(0.0)


class Plan(NamedTuple):
    """Numbers of channels and strides."""

    strides: tuple[int, ...]  # of the stem's convolutions and of the first stage
    stem: tuple[int, ...]
    stages: tuple[int, ...]
    skips: tuple[int, ...]  # from the input to the fourth map
    back: tuple[int, ...]  # of the decoder's stages
    guidance: tuple[int, ...]


def plan_of(width: float, late_downsample: bool) -> Plan:
    """The paper's numbers, with `width` times the channels."""
    middle = 64 if late_downsample else 32

    def scale(*channels: int) -> tuple[int, ...]:
        return tuple(scaled(count, width) for count in channels)

    return Plan(
        strides=(1, 2, 1, 2) if late_downsample else (2, 1, 2, 1),
        stem=scale(32, middle, 64),
        stages=scale(64, 128, 256, 512),
        skips=scale(32, middle, 64, 128, 256),
        back=scale(256, 128, 64, middle),
        guidance=scale(16, 32, 128),
    )


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; with a stride, the shortcut averages first."""

    features: int
    stride: int
    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        layer = partial(self.layer, self.features, kernel_init=xavier_uniform)
        y = layer(stride=self.stride, name="layer1")(x, train)
        # Scale 0: the block starts as its shortcut.
        last = partial(layer, activation=None, scale_init=nn.initializers.zeros)
        y = last(name="layer2")(y, train)
        if self.stride != 1:
            x = average_pool(x, self.stride)
            x = layer(kernel_size=1, activation=None, name="shortcut")(x, train)
        return nn.relu(x + y)


class BlockBack(nn.Module):
    """The decoder's block; the first of a stage enlarges twice."""

    features: int
    enlarge: bool
    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features], enlarged [B, 2 H, 2 W, features]."""
        layer = partial(self.layer, kernel_init=xavier_uniform)
        if self.enlarge:
            first = self.layer(
                x.shape[-1], 4, transposed=True, activation=leaky_relu, name="layer1"
            )
        else:
            first = layer(x.shape[-1], activation=leaky_relu, name="layer1")
        last = partial(layer, activation=None, scale_init=nn.initializers.zeros)
        y = last(self.features, name="layer2")(first(x, train), train)
        if self.enlarge:
            shortcut = layer(self.features, 1, activation=None, name="shortcut")
            x = shortcut(upsample_nearest(x, 2), train)
        return leaky_relu(x + y)


class Skip(nn.Module):
    """What a map goes through on its way to the decoder: twice convolution, ReLU, normalisation."""

    features: int
    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features]."""
        layer = partial(self.layer, self.features, activation_first=True)
        return layer(name="layer2")(layer(name="layer1")(x, train), train)


class GuidanceHead(nn.Module):
    """The low-level features by which places are compared, from the picture alone."""

    features: tuple[int, ...]
    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, 3] -> [B, H / 8, W / 8, features[-1]]."""
        layer = partial(self.layer, stride=2, padding="valid", activation_first=True)
        x = image
        for i, features in enumerate(self.features, start=1):
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
            x = layer(features, name=f"layer{i}")(x, train)
        return x


class Encoder(nn.Module):
    """Maps at strides 2 to 32; those that the decoder adds, from coarse to fine; best sources."""

    plan: Plan
    layer: Callable[..., nn.Module]
    attention: Callable[..., nn.Module] | None

    @nn.compact
    def __call__(
        self, x: jax.Array, guidance: jax.Array | None, unknown: jax.Array, train: bool
    ) -> tuple[jax.Array, list[jax.Array], tuple[jax.Array, ...]]:
        """The network's input [B, H, W, 6 | 4] -> coarsest map, skipped maps, attention's offsets.

        `guidance` and `unknown` are those of `GuidedContextualAttention`.
        """
        plan = self.plan
        offsets: tuple[jax.Array, ...] = ()
        skipped = [x]
        for i, features in enumerate(plan.stem):
            init = _colours_only if i == 0 else xavier_uniform
            stem = self.layer(
                features, stride=plan.strides[i], kernel_init=init, name=f"stem{i + 1}"
            )
            x = stem(x, train)
            if i == 1:
                skipped.append(x)
        for i, count in enumerate(BLOCKS):
            for j in range(count):
                stride = (plan.strides[3] if i == 0 else 2) if j == 0 else 1
                block = Block(plan.stages[i], stride, self.layer, name=f"stage{i + 1}_block{j}")
                x = block(x, train)
            if i == 1 and self.attention:
                x, best = self.attention(name="attention")(guidance, x, unknown, train)
                offsets = (best,)
            skipped.append(x)
        shown = []
        for i, features in enumerate(plan.skips):
            shown.append(Skip(features, self.layer, name=f"skip{i}")(skipped[i], train))
        return x, shown[::-1], offsets


class Decoder(nn.Module):
    """From the coarsest map to what alpha is the tanh of."""

    plan: Plan
    layer: Callable[..., nn.Module]
    attention: Callable[..., nn.Module] | None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        skipped: list[jax.Array],
        guidance: jax.Array | None,
        unknown: jax.Array,
        train: bool,
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Coarsest map and the skipped ones, from coarse to fine -> [B, H, W, 1], offsets."""
        plan = self.plan
        offsets: tuple[jax.Array, ...] = ()
        for i, count in enumerate(BLOCKS_BACK):
            for j in range(count):
                block = BlockBack(plan.back[i], j == 0, self.layer, name=f"stage{i + 1}_block{j}")
                x = block(x, train)
            x = x + skipped[i]
            if i == 1 and self.attention:
                x, best = self.attention(name="attention")(guidance, x, unknown, train)
                offsets = (best,)
        last = self.layer(plan.skips[0], 4, transposed=True, activation=leaky_relu, name="last")
        x = last(x, train) + skipped[-1]
        return Conv(1, kernel_init=xavier_uniform, dtype=x.dtype, name="head")(x), offsets


class Model(nn.Module):
    """The network.

    Attributes:
      attention: whether there is any; without, it is the paper's baseline.
      trimap_channels: how the trimap is told: 3, each class by a plane of its own, or 1, by
        numbers 0, 1, 2.
      chunk: how many places attention fills at a time; 0: all. It bounds the memory: pictures of
        up to 512 x 512 have 1024 places.
      late_downsample: the authors' other stem, of higher resolution; no published weights have it.
      width: multiplies all channels; 1.0 is the paper.
      dtype: what the network computes in; scores of the attention and alpha are float32.
      bn_axis: the mapped axis whose replicas share their batch statistics.
    """

    attention: bool = True
    trimap_channels: int = 3
    chunk: int = 1024
    late_downsample: bool = False
    width: float = 1.0
    dtype: str = "float32"
    bn_axis: str | None = None

    inputs: ClassVar[tuple[str, ...]] = ("image", "trimap")

    def __post_init__(self):
        if self.trimap_channels not in TRIMAP_CHANNELS:
            raise UserError(f"gca: trimap_channels={self.trimap_channels!r} must be 3 or 1")
        if self.chunk < 0:
            raise UserError(f"gca: chunk={self.chunk} must be a number of places, or 0 for all")
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, trimap: jax.Array, train: bool) -> Outputs:
        """Mattes a picture.

        Args:
          image: [B, H, W, 3] in 0..1, RGB; H and W multiples of 32.
          trimap: [B, H, W, 1] in 0..1, which a third at a time is background, unknown, foreground.
          train: whether batch statistics and the vectors of the spectral norm are updated.

        Returns:
          alpha [B, H, W, 1], which means something where the trimap is unknown: elsewhere the
          trimap itself is better, as the test-time rules have it; offsets, for pictures: of each
          attention, from where each place takes most, [B, H / 16, W / 16, 2], as its row less half
          the number of rows, and its column likewise. Without attention there are none.
        """
        require_sides("gca", image)
        dtype, plan = jnp.dtype(self.dtype), plan_of(self.width, self.late_downsample)
        rest: dict[str, Any] = {"dtype": dtype, "bn_axis": self.bn_axis}
        layer = partial(SpectralLayer, **rest)
        attention = None
        if self.attention:
            attention = partial(GuidedContextualAttention, self.chunk, **rest)

        classes = trimap_classes(trimap)
        told = classes if self.trimap_channels == 1 else jax.nn.one_hot(classes[..., 0], 3)
        colours = normalised(image).astype(dtype)
        unknown = classes[:, ::16, ::16, 0] == 1
        guidance = None
        if self.attention:
            guidance = GuidanceHead(plan.guidance, layer, name="guidance")(colours, train)
        encoder = Encoder(plan, layer, attention, name="encoder")
        x = jnp.concatenate([colours, told.astype(dtype)], axis=-1)
        x, skipped, first = encoder(x, guidance, unknown, train)
        decoder = Decoder(plan, layer, attention, name="decoder")
        raw, second = decoder(x, skipped, guidance, unknown, train)
        alpha = 0.5 * (jnp.tanh(raw.astype(jnp.float32)) + 1.0)
        return {"alpha": alpha, "offsets": first + second}

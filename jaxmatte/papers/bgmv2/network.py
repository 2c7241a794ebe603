"""BGMv2's network: an encoder of two pictures, ASPP, a decoder, and the refiner behind them."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.encoders import mobilenet, resnet
from jaxmatte.errors import UserError
from jaxmatte.layers import Conv, ConvNormRelu, Dtype, scaled
from jaxmatte.papers.bgmv2.common import fit
from jaxmatte.papers.bgmv2.refine import CELL, MODES, Coarse, Refiner
from jaxmatte.papers.contract import Outputs, require_sides

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v2": partial(mobilenet.MobileNetV2, last=False, output_stride=16),
    "resnet50": partial(resnet.ResNet50, output_stride=16),
    "resnet101": partial(resnet.ResNet101, output_stride=16),
}
CLAMPS = ("released", "inward")
RATES = (3, 6, 9)  # of the ASPP
HIDDEN = 32  # channels that the decoder hands to the refiner


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling as DeepLabV3 has it (Chen et al. 2017)."""

    features: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features]."""
        maps = [self.conv(self.features, 1, name="point")(x, train)]
        for i, rate in enumerate(RATES, start=1):
            maps.append(self.conv(self.features, 3, dilation=rate, name=f"atrous{i}")(x, train))
        mean = x.astype(jnp.float32).mean((1, 2), keepdims=True)
        pooled = self.conv(self.features, 1, name="pooled")(mean, train)
        maps.append(jnp.broadcast_to(pooled, maps[0].shape))
        x = self.conv(self.features, 1, name="project")(jnp.concatenate(maps, axis=-1), train)
        return nn.Dropout(0.5, deterministic=not train)(x)


class Decoder(nn.Module):
    """Four times to the size of the next finer map and through a convolution with it.

    The size is the map's own, where the paper's text doubles: so every height and width does.
    """

    width: float
    conv: Callable[..., nn.Module]
    dtype: Dtype

    @nn.compact
    def __call__(self, x: jax.Array, skips: tuple[jax.Array, ...], train: bool) -> jax.Array:
        """Coarsest map, finer ones (strides 8, 4, 2, 1) -> [B, H, W, 1 + 3 + 1 + hidden]."""
        for i, features in enumerate((128, 64, 48), start=1):
            x = _joined(x, skips[i - 1])
            x = self.conv(scaled(features, self.width), 3, name=f"layer{i}")(x, train)
        features = 5 + scaled(HIDDEN, self.width)
        return Conv(features, dtype=self.dtype, name="layer4")(_joined(x, skips[3]))


def _joined(x: jax.Array, skip: jax.Array) -> jax.Array:
    return jnp.concatenate([fit(x, skip.shape[1:3]), skip], axis=-1)


class Model(nn.Module):
    """The network: MattingBase, or with a refiner MattingRefine, whose base has the same names.

    Attributes:
      encoder: "mobilenet_v2", "resnet50" or "resnet101".
      refine: "none" (MattingBase), "full" (the refiner everywhere), "sampling" (the cells of 4 x 4
        pixels with the largest error), "thresholding" (those with an error above `threshold`).
      backbone_scale: what the base sees of height and width, above 0 to 0.5; 0.25 for HD, 0.125
        for 4K. Without a refiner it sees all.
      sample_pixels: sampling: pixels of each picture that are refined, 16 a cell; where a picture
        has fewer cells, all of them. The published ones are 80,000 for HD, 320,000 for 4K.
      threshold: thresholding; 0.1 in the authors' class, 0.7 on all of their command lines.
      kernel: of the refiner's convolutions, 3 or 1.
      prevent_oversampling: sampling: leaves out cells with an error of 0.
      gather: sampling: cuts the chosen patches out and refines those alone; false: refines
        everything and takes the patches from it, which gives the same.
      clamp: what alpha, foreground and error, which are cut to 0..1, learn outside: "released":
        nothing, so that a network that starts from random weights may stay at 0 for ever;
        "inward": to come back.
      width: multiplies the base network's channels; 1.0 is the paper. The refiner has few as it is.
      dtype: what the network computes in; the outputs are float32.
      bn_axis: the mapped axis whose replicas share their batch statistics.
    """

    encoder: str = "mobilenet_v2"
    refine: str = "sampling"
    backbone_scale: float = 0.25
    sample_pixels: int = 80_000
    threshold: float = 0.7
    kernel: int = 3
    prevent_oversampling: bool = True
    gather: bool = True
    clamp: str = "released"
    width: float = 1.0
    dtype: str = "float32"
    bn_axis: str | None = None

    inputs: ClassVar[tuple[str, ...]] = ("image", "plate")

    def __post_init__(self):
        for name, choices in (
            ("encoder", tuple(ENCODERS)),
            ("refine", ("none", *MODES)),
            ("kernel", (3, 1)),
            ("clamp", CLAMPS),
        ):
            value = getattr(self, name)
            if value not in choices:
                known = ", ".join(map(str, choices))
                raise UserError(f"bgmv2: {name}={value!r} must be one of {known}")
        if not 0 < self.backbone_scale <= 0.5:
            raise UserError(
                f"bgmv2: backbone_scale={self.backbone_scale}: it must be above 0, at most 0.5"
            )
        if self.sample_pixels < CELL**2:
            raise UserError(
                f"bgmv2: sample_pixels={self.sample_pixels}: a cell has {CELL**2} pixels, so that "
                "fewer refine nothing; refine=none is the base network"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, plate: jax.Array, train: bool) -> Outputs:
        """Mattes a picture by a plate of its background.

        Args:
          image: [B, H, W, 3] in 0..1, RGB; with a refiner H and W are multiples of 4, without one
            they are what they like.
          plate: the same without the subject, aligned with it.
          train: whether batch statistics are used and updated.

        Returns:
          alpha [B, H, W, 1]; foreground [B, H, W, 3]; error [B, H, W, 1], the predicted one of the
          coarse alpha; hidden, without a refiner, [B, H, W, 32]; else refined [B, H / 4, W / 4, 1],
          1 where a cell was refined, and coarse_alpha, coarse_foreground and coarse_error at the
          size that the base network saw.
        """
        if image.shape != plate.shape:
            raise UserError(
                f"bgmv2: an image of {_sides(image)} and a plate of {_sides(plate)}: they must be "
                "of one size"
            )
        image, plate = image.astype(jnp.float32), plate.astype(jnp.float32)
        picture = jnp.concatenate([image, plate], axis=-1)
        if self.refine == "none":
            base = self._base(picture, train)
            return {
                "alpha": base.alpha,
                "foreground": self._clamped(base.residual + image),
                "error": base.error,
                "hidden": base.hidden,
            }
        require_sides("bgmv2", image, CELL)
        size = (image.shape[1], image.shape[2])
        small = tuple(int(side * self.backbone_scale) for side in size)
        if not all(small):
            raise UserError(
                f"bgmv2: an image of {_sides(image)} is nothing at "
                f"backbone_scale={self.backbone_scale}; raise it"
            )
        shrunken = fit(picture, small)
        base = self._base(shrunken, train)
        alpha, residual, refined = self._refiner()(picture, base, train)
        return {
            "alpha": self._clamped(alpha),
            "foreground": self._clamped(residual + image),
            "error": fit(base.error, size),
            "refined": refined,
            "coarse_alpha": base.alpha,
            "coarse_foreground": self._clamped(base.residual + shrunken[..., :3]),
            "coarse_error": base.error,
        }

    def _base(self, picture: jax.Array, train: bool) -> Coarse:
        """Image and plate [B, h, w, 6] -> what the base network says of them, float32."""
        dtype = jnp.dtype(self.dtype)
        norms: dict[str, Any] = {"dtype": dtype, "bn_axis": self.bn_axis}
        conv = partial(ConvNormRelu, use_bias=False, **norms)
        picture = picture.astype(dtype)
        maps = ENCODERS[self.encoder](width=self.width, name="encoder", **norms)(picture, train)
        x = ASPP(scaled(256, self.width), conv, name="aspp")(maps[-1], train)
        skips = (maps[2], maps[1], maps[0], picture)
        x = Decoder(self.width, conv, dtype, name="decoder")(x, skips, train).astype(jnp.float32)
        return Coarse(
            alpha=self._clamped(x[..., :1]),
            residual=x[..., 1:4],
            error=self._clamped(x[..., 4:5]),
            hidden=nn.relu(x[..., 5:]),
        )

    def _clamped(self, x: jax.Array) -> jax.Array:
        return _inward(x) if self.clamp == "inward" else jnp.clip(x, 0.0, 1.0)

    def _refiner(self) -> Refiner:
        return Refiner(
            self.refine,
            self.sample_pixels,
            self.threshold,
            self.kernel,
            self.prevent_oversampling,
            self.gather,
            jnp.dtype(self.dtype),
            self.bn_axis,
            name="refiner",
        )


@jax.custom_vjp
def _inward(x: jax.Array) -> jax.Array:
    """Cut to 0..1; outside, gradients pass that lead back."""
    return jnp.clip(x, 0.0, 1.0)


def _inward_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _inward(x), x


def _inward_backward(x: jax.Array, slope: jax.Array) -> tuple[jax.Array]:
    # What is learned goes down the slope.
    leaves = ((x < 0) & (slope > 0)) | ((x > 1) & (slope < 0))
    return (jnp.where(leaves, 0.0, slope),)


_inward.defvjp(_inward_forward, _inward_backward)


def _sides(image: jax.Array) -> str:
    return " x ".join(map(str, image.shape[1:3]))

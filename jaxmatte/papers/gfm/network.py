"""GFM's network: one encoder, two decoders, and the fusion of what they say."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.encoders import densenet, resnet
from jaxmatte.errors import UserError
from jaxmatte.layers import (
    Conv,
    ConvNormRelu,
    SqueezeExcite,
    adaptive_average_pool,
    resize,
    scaled,
    upsample,
)
from jaxmatte.papers.contract import Outputs, require_sides

CLASSES = {"TT": 3, "FT": 2, "BT": 2}
ROSTA = (*CLASSES, "RIM")


class Plan(NamedTuple):
    """The numbers of a variant, coarsest level first."""

    encoder: Callable[..., nn.Module]
    pyramid: tuple[int, ...]  # channels of the context that the glance decoder is fed
    decoder: tuple[tuple[int, ...], ...]  # channels of each level's convolutions
    head: tuple[int, ...]  # channels before the last convolution
    half: bool  # whether the encoder's finest map has half the image's resolution
    d6_dilation: int = 1

    def scaled(self, width: float) -> "Plan":
        """The plan with `width` times the channels."""
        decoder = tuple(tuple(scaled(c, width) for c in level) for level in self.decoder)
        head, pyramid = (tuple(scaled(c, width) for c in p) for p in (self.head, self.pyramid))
        return self._replace(pyramid=pyramid, decoder=decoder, head=head)

    def levels(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The decoder's levels above the head: number, fields of its `Block`."""
        for level, features in zip(range(len(self.decoder), 0, -1), self.decoder, strict=True):
            dilations = (1, self.d6_dilation, self.d6_dilation) if level == 6 else (1, 1, 1)
            factor = 2 if self.half or level > 1 else 1
            yield level, {"features": features, "dilations": dilations, "factor": factor}


_DECODER = ((512, 512, 256), (256, 256, 128), (128, 128, 64), (64, 64, 64))
_PLAN = Plan(resnet.ResNet34, (256, 128, 64, 64), _DECODER, (64, 64), half=True)
PLANS = {
    "r34": _PLAN,
    "r34_2b": Plan(
        resnet.FullResolutionResNet34,
        (512, 512, 256, 128, 64),
        ((512, 512, 512), (512, 512, 512), *_DECODER),
        (),
        half=False,
    ),
    "d121": _PLAN._replace(encoder=densenet.DenseNet121),
    "r101": Plan(
        resnet.ResNet101,
        (1024, 512, 256, 64),
        ((2048, 1024, 1024), (1024, 512, 512), (512, 256, 256), (256, 128, 64)),
        (64, 64),
        half=True,
    ),
}


class Block(nn.Module):
    """Convolutions with normalisation and ReLU, then upsampling."""

    features: tuple[int, ...]
    dilations: tuple[int, ...]
    factor: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, factor * H, factor * W, features[-1]]."""
        layers = zip(self.features, self.dilations, strict=True)
        for i, (features, dilation) in enumerate(layers, start=1):
            x = self.conv(features, dilation=dilation, name=f"layer{i}")(x, train)
        return upsample(x, self.factor)


class PyramidPooling(nn.Module):
    """PSP module (Zhao et al. 2017): the global context, on grids of 1, 3 and 5 bins."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        conv = partial(Conv, x.shape[-1], 1, dtype=x.dtype)
        maps = []
        for i, bins in enumerate((1, 3, 5)):
            pooled = adaptive_average_pool(x, bins)
            pooled = conv(use_bias=False, name=f"stage{i}")(pooled)
            maps.append(resize(pooled, (x.shape[1], x.shape[2]), "align_corners"))
        return nn.relu(conv(name="bottleneck")(jnp.concatenate([*maps, x], axis=-1)))


class GlanceDecoder(nn.Module):
    """Where foreground, background and transition are, from the global context.

    The context joins every level: concatenated, as published, where the paper's text has a sum.
    """

    plan: Plan
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> jax.Array:
        """The encoder's maps, from fine to coarse -> what the heads read."""
        x, depth = maps[-1], len(self.plan.decoder)
        psp = PyramidPooling(name="psp")(x)
        context = {depth: psp}
        for i, features in enumerate(self.plan.pyramid, start=1):
            level = self.conv(features, name=f"psp{depth + 1 - i}")(psp, train)
            context[depth - i] = upsample(level, 2**i)
        for level, settings in self.plan.levels():
            x = jnp.concatenate([context[level], x], axis=-1)
            x = Block(**settings, conv=self.conv, name=f"level{level}")(x, train)
        return jnp.concatenate([context[0], x], axis=-1) if self.plan.half else x


class FocusDecoder(nn.Module):
    """The details of the transition: a U-Net behind a bridge block of dilated convolutions."""

    plan: Plan
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> jax.Array:
        """The encoder's maps, from fine to coarse -> what the heads read."""
        channels = maps[-1].shape[-1]
        bridge = Block((channels,) * 3, (2, 2, 2), factor=1, conv=self.conv, name="bridge")
        x = bridge(maps[-1], train)
        for level, settings in self.plan.levels():
            x = jnp.concatenate([x, maps[level]], axis=-1)
            x = Block(**settings, conv=self.conv, name=f"level{level}")(x, train)
        # At full resolution the finest map, the new stem's, is no skip.
        return jnp.concatenate([x, maps[0]], axis=-1) if self.plan.half else x


class Head(nn.Module):
    """The last level of a decoder; its logits are float32, and upsampled before the sigmoid."""

    plan: Plan
    classes: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] at the finest map's resolution -> the image's [B, H, W, classes]."""
        for i, features in enumerate(self.plan.head, start=1):
            x = self.conv(features, name=f"layer{i}")(x, train)
        return upsample(Conv(self.classes, name="logits")(x), 2 if self.plan.half else 1)


class IntegrationModule(nn.Module):
    """RIM: weighs the three RoSTas' mattes; its output is not bounded."""

    @nn.compact
    def __call__(self, fusions: jax.Array) -> jax.Array:
        """[B, H, W, 3] -> [B, H, W, 1]."""
        x = SqueezeExcite(reduction=4, name="attention")(Conv(16, 1, name="expand")(fusions))
        return Conv(1, 1, name="merge")(x)


def collaborative_matting(rosta: str, glance: jax.Array, focus: jax.Array) -> jax.Array:
    """Fuses glance [B, H, W, 3 | 2] and focus [B, H, W, 1] to alpha [B, H, W, 1].

    The class is the argmax of the sigmoids, the first of equals (of logits it would differ where
    sigmoids saturate). No gradient reaches the glance decoder, nor the focus decoder outside of
    the transition (TT) or where the sum or difference leaves 0..1 (FT, BT).
    """
    chosen = jnp.argmax(glance, axis=-1, keepdims=True)
    if rosta == "TT":  # 0 background, 1 transition, 2 foreground
        return jnp.where(chosen == 1, focus, jnp.where(chosen == 2, 1.0, 0.0))
    known = chosen.astype(focus.dtype)
    if rosta == "FT":
        added = known + focus
        return jnp.where(added > 1.0, 1.0, added)
    taken = known - focus
    return jnp.where(taken < 0.0, 0.0, taken)


class Model(nn.Module):
    """The network.

    Attributes:
      encoder: "r34", "r34_2b" (full resolution), "d121" or "r101".
      rosta: "TT", "FT", "BT" or "RIM".
      d6_dilation: dilation inside the coarsest level of r34_2b's decoders. 2 for the released
        weights of GFM(r2b)-TT: they date from 2020, when the code had 2; it has 1 since 2021.
      width: multiplies all channels; 1.0 is the paper.
      dtype: what the network computes in; the heads' logits and the fusion are float32.
      bn_axis: the mapped axis whose replicas share their batch statistics.
    """

    encoder: str = "r34"
    rosta: str = "TT"
    d6_dilation: int = 1
    width: float = 1.0
    dtype: str = "float32"
    bn_axis: str | None = None

    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self):
        for name, choices in (("encoder", tuple(PLANS)), ("rosta", ROSTA)):
            value = getattr(self, name)
            if value not in choices:
                raise UserError(f"gfm: {name}={value!r} must be one of {', '.join(choices)}")
        if self.d6_dilation not in ((1, 2) if self.encoder == "r34_2b" else (1,)):
            given = f"gfm: d6_dilation={self.d6_dilation} with encoder={self.encoder!r}"
            raise UserError(f"{given}: it must be 1, or 2 with encoder='r34_2b'")
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> Outputs:
        """Mattes a picture.

        Args:
          image: [B, H, W, 3] in 0..1, RGB; H and W multiples of 32.
          train: whether batch statistics are used and updated.

        Returns:
          alpha [B, H, W, 1], the fused matte; glance [B, H, W, 3 | 2] and focus [B, H, W, 1],
          the sigmoids of glance_logits and focus_logits. With RIM, fusion [B, H, W, 1] and these
          four have a suffix _tt, _ft or _bt, and alpha is rim [B, H, W, 1] clipped to 0..1.
        """
        require_sides("gfm", image)
        plan = PLANS[self.encoder].scaled(self.width)._replace(d6_dilation=self.d6_dilation)
        rest: dict[str, Any] = {"dtype": jnp.dtype(self.dtype), "bn_axis": self.bn_axis}
        conv = partial(ConvNormRelu, **rest)
        # As published: values 0..255, without mean and deviation.
        maps = plan.encoder(width=self.width, name="encoder", **rest)(image * 255.0, train)
        glance_map = GlanceDecoder(plan, conv, name="glance")(maps, train)
        focus_map = FocusDecoder(plan, conv, name="focus")(maps, train)

        outputs: Outputs = {}
        fusions = []
        for rosta in CLASSES if self.rosta == "RIM" else (self.rosta,):
            suffix = f"_{rosta.lower()}" if self.rosta == "RIM" else ""
            glance_head = Head(plan, CLASSES[rosta], conv, name=f"glance_head{suffix}")
            focus_head = Head(plan, 1, conv, name=f"focus_head{suffix}")
            logits = {
                "glance": glance_head(glance_map, train),
                "focus": focus_head(focus_map, train),
            }
            parts = {name: nn.sigmoid(values) for name, values in logits.items()}
            fusions.append(collaborative_matting(rosta, parts["glance"], parts["focus"]))
            outputs |= {f"{name}{suffix}": values for name, values in parts.items()}
            outputs |= {f"{name}_logits{suffix}": values for name, values in logits.items()}
        if self.rosta != "RIM":
            return {"alpha": fusions[0], **outputs}
        outputs |= {f"fusion_{k.lower()}": v for k, v in zip(CLASSES, fusions, strict=True)}
        rim = IntegrationModule(name="rim")(jnp.concatenate(fusions, axis=-1))
        return {"alpha": jnp.clip(rim, 0.0, 1.0), "rim": rim, **outputs}

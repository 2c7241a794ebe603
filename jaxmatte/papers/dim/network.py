"""Deep Image Matting's networks: VGG-16, a decoder that undoes its poolings, and a refinement."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import glorot_normal

from jaxmatte.encoders.vgg import VGG16, unpool
from jaxmatte.errors import UserError
from jaxmatte.layers import Conv, ConvNormRelu, Dtype, scaled
from jaxmatte.papers.contract import Outputs, require_sides


@dataclass(frozen=True)
class Layout:
    """What the public forms of the network differ in.

    Attributes:
      middle: channels and kernel of the layer between encoder and decoder; None: there is none,
        and the decoder begins with the unpooling.
      skips: each unpooled map has the encoder's map of its size added.
      norm: batch normalisation behind every convolution, and no ReLU in the decoder.
      logits: what the decoder gives and the refinement adds are logits of alpha, else alpha itself,
        cut to 0..1.
    """

    middle: tuple[int, int] | None
    skips: bool = False
    norm: bool = False
    logits: bool = True


LAYOUTS = {
    "mmagic": Layout((512, 1)),
    "hct_v12": Layout((512, 1)),
    "hct_v14": Layout((512, 3)),
    "hct_v15": Layout((512, 3), skips=True),
    "foamliu": Layout(None, norm=True),
    "paper": Layout((4096, 7), logits=False),
}

# Of the decoder's 5 x 5 convolutions, by the stage of the encoder whose pooling is undone before.
_CHANNELS = {5: 512, 4: 256, 3: 128, 2: 64, 1: 64}
_REFINEMENT = 64  # channels

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_UNKNOWN = 128 / 255  # as the byte of a trimap that says so

# Xavier, as the ports draw it.
_Conv = partial(Conv, kernel_init=glorot_normal(), bias_init=nn.initializers.zeros)


class Decoder(nn.Module):
    """From the coarsest map back to the picture's size, by the places of the poolings."""

    layout: Layout
    width: float
    dtype: Dtype
    bn_axis: str | None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        maps: tuple[jax.Array, ...],
        places: tuple[jax.Array, ...],
        train: bool,
    ) -> jax.Array:
        """What lies between encoder and decoder, the encoder's maps -> [B, H, W, 1]."""
        if self.layout.middle:
            x = self._layer(512, 1, "deconv6")(x, train)
        for stage, channels in _CHANNELS.items():
            x = unpool(x, places[stage - 1])
            if self.layout.skips:
                x += maps[stage - 1]
            if self.layout.norm and stage == 1:
                return self._layer(1, 5, "deconv1")(x, train)
            x = self._layer(channels, 5, f"deconv{stage}")(x, train)
        return _Conv(1, 5, dtype=self.dtype, name="raw")(x)

    def _layer(self, features: int, size: int, name: str) -> Callable[..., jax.Array]:
        features = features if features == 1 else scaled(features, self.width)
        if self.layout.norm:
            return ConvNormRelu(
                features,
                size,
                activation=None,
                kernel_init=glorot_normal(),
                dtype=self.dtype,
                bn_axis=self.bn_axis,
                name=name,
            )
        conv = _Conv(features, size, dtype=self.dtype, name=name)
        return lambda x, train: nn.relu(conv(x))


class Refiner(nn.Module):
    """What to add to a matte, from the picture and the matte, at full resolution."""

    width: float
    dtype: Dtype
    kernel_init: nn.initializers.Initializer  # of the last layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, 4] -> [B, H, W, 1]."""
        for number in (1, 2, 3):
            conv = _Conv(scaled(_REFINEMENT, self.width), dtype=self.dtype, name=f"conv{number}")
            x = nn.relu(conv(x))
        return Conv(
            1,
            kernel_init=self.kernel_init,
            bias_init=nn.initializers.zeros,
            dtype=self.dtype,
            name="correction",
        )(x)


class Model(nn.Module):
    """The network.

    Attributes:
      layout: whose: "mmagic"; "hct_v12", "hct_v14" or "hct_v15", the releases of
        huochaitiantang's port (the last one with skips); "foamliu"; or "paper", as the text has it.
      refine: whether the refinement follows; "foamliu" has none.
      width: multiplies all channels; 1.0 is the paper.
      dtype: what the network computes in; the outputs are float32.
      bn_axis: the mapped axis whose replicas share their batch statistics ("foamliu").
    """

    layout: str = "mmagic"
    refine: bool = False
    width: float = 1.0
    dtype: str = "float32"
    bn_axis: str | None = None

    inputs: ClassVar[tuple[str, ...]] = ("image", "trimap")

    def __post_init__(self):
        if self.layout not in LAYOUTS:
            raise UserError(f"dim: layout={self.layout!r} must be one of {', '.join(LAYOUTS)}")
        if self.refine and LAYOUTS[self.layout].norm:
            raise UserError(f"dim: refine=True: layout={self.layout!r} has no refinement")
        super().__post_init__()

    @nn.compact
    def __call__(self, image: jax.Array, trimap: jax.Array, train: bool) -> Outputs:
        """Mattes a picture.

        Args:
          image: [B, H, W, 3] in 0..1, RGB; H and W multiples of 32.
          trimap: [B, H, W, 1]: 0, 0.5 and 1; a resized one may have values between.
          train: whether batch statistics are used and updated ("foamliu").

        Returns:
          alpha [B, H, W, 1], the refined one where there is a refinement; coarse_alpha, before it;
          raw_alpha, the decoder's output, which is no alpha yet but its logit ("paper": alpha not
          cut to 0..1).
        """
        require_sides("dim", image)
        layout, dtype = LAYOUTS[self.layout], jnp.dtype(self.dtype)
        norms: dict[str, Any] = {"dtype": dtype, "bn_axis": self.bn_axis}
        picture = normalised(image)
        # The ports feed the byte 128, which is a little more than one half.
        x = jnp.concatenate([picture, jnp.where(trimap == 0.5, _UNKNOWN, trimap)], axis=-1)
        encoder = VGG16(layout.norm, self.width, name="encoder", **norms)
        x, maps, places = encoder(x.astype(dtype), train)
        if layout.middle:
            channels, size = layout.middle
            conv = _Conv(scaled(channels, self.width), size, dtype=dtype, name="conv6")
            x = nn.relu(conv(x))
        decoder = Decoder(layout, self.width, name="decoder", **norms)
        raw = decoder(x, maps, places, train).astype(jnp.float32)
        to_alpha = nn.sigmoid if layout.logits else cut
        coarse = to_alpha(raw)
        outputs = {"alpha": coarse, "coarse_alpha": coarse, "raw_alpha": raw}
        if self.refine:
            if layout.logits:
                refiner = Refiner(self.width, dtype, glorot_normal(), name="refiner")
                seen = jnp.concatenate([picture, coarse], axis=-1)
                refined = raw + refiner(seen.astype(dtype)).astype(jnp.float32)
            else:
                # Its inputs reach 255: drawn weights would begin with corrections of hundreds.
                refiner = Refiner(self.width, dtype, nn.initializers.zeros, name="refiner")
                seen = 255.0 * jnp.concatenate([image, coarse], axis=-1)
                refined = coarse + refiner(seen.astype(dtype)).astype(jnp.float32)
            outputs["alpha"] = to_alpha(refined)
        return outputs


def normalised(image: jax.Array) -> jax.Array:
    """The picture as the ImageNet weights know it, to the last bit that the ports give it.

    XLA would multiply by a reciprocal; where a pooling's two largest are nearly equal, that bit
    decides which of them the decoder fills.
    """
    std = lax.optimization_barrier(jnp.broadcast_to(jnp.asarray(_STD), image.shape))
    return (image - jnp.asarray(_MEAN)) / std


def cut(x: jax.Array) -> jax.Array:
    """Cuts to 0..1; the gradient is handed on as it is, or what lies outside could never return."""
    return x - lax.stop_gradient(x) + lax.stop_gradient(jnp.clip(x, 0.0, 1.0))

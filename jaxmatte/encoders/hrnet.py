"""HRNet (Wang et al. 2020, arXiv 1908.07919) as PaddleSeg builds it.

Branches of one to eight times the channels run beside each other at 1/4 to 1/32 of the picture;
after every module each of them takes in all the others.
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxmatte.encoders.resnet_vd import BasicBlock
from jaxmatte.layers import ConvNormRelu, Dtype, kaiming_normal_fan_in, scaled, upsample

Maps = list[jax.Array]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the last one has 4 x `features`."""

    features: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, 4 * features]."""
        outputs = 4 * self.features
        y = self.conv(self.features, 1, name="layer1")(x, train)
        y = self.conv(self.features, 3, name="layer2")(y, train)
        y = self.conv(outputs, 1, activation=None, name="layer3")(y, train)
        if x.shape[-1] != outputs:
            x = self.conv(outputs, 1, activation=None, name="shortcut")(x, train)
        return nn.relu(x + y)


class Fuse(nn.Module):
    """Every branch takes in all the others, finest first."""

    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, maps: Maps, train: bool) -> Maps:
        """The branches' maps, from fine to coarse -> as many of the same shapes."""
        fused = []
        for target, x in enumerate(maps):
            for source, other in enumerate(maps):
                if source != target:
                    x = x + self._brought(other, source, target, maps[target].shape[-1], train)
            fused.append(nn.relu(x))
        return fused

    def _brought(
        self, x: jax.Array, source: int, target: int, features: int, train: bool
    ) -> jax.Array:
        """The map of branch `source` with the shape of branch `target`; both count from 0."""
        if source > target:
            name = f"up{source + 1}_{target + 1}"
            x = self.conv(features, 1, activation=None, name=name)(x, train)
            return upsample(x, 2 ** (source - target))
        for step in range(1, target - source + 1):
            name = f"down{source + 1}_{target + 1}_{step}"
            last = step == target - source
            features_here, activation = (features, None) if last else (x.shape[-1], nn.relu)
            conv = self.conv(features_here, stride=2, activation=activation, name=name)
            x = conv(x, train)
        return x


class Branches(nn.Module):
    """One module of a stage: residual blocks in every branch, then fusion."""

    blocks: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, maps: Maps, train: bool) -> Maps:
        """The branches' maps, from fine to coarse -> as many of the same shapes."""
        after = []
        for branch, x in enumerate(maps, start=1):
            for i in range(1, self.blocks + 1):
                block = BasicBlock(x.shape[-1], self.conv, name=f"branch{branch}_block{i}")
                x = block(x, train)
            after.append(x)
        return Fuse(self.conv, name="fuse")(after, train)


class HRNet(nn.Module):
    """The stem and four stages -> maps at strides 2, 4, 8, 16 and 32.

    Attributes:
      channels: C, of the finest branch: 18 or 48 in matting.
      width: multiplies every number of channels; 1.0 is the paper.
      dtype: what the network computes in.
      bn_axis: the mapped axis whose replicas share their batch statistics.
      padding: of all convolutions, as `layers.Conv` names it: "same" is PaddleSeg's default,
        "torch" the original's.
      unbiased: of the running variances; see `layers.BatchNorm`.
      modules: of the stages with two, three and four branches.
      blocks: of each branch in a module, and of the first stage.
    """

    channels: int = 48
    width: float = 1.0
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    padding: str = "same"
    unbiased: bool = False
    modules: Sequence[int] = (1, 4, 3)
    blocks: int = 4

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """[B, H, W, 3], H and W multiples of 32 -> maps of 64, C, 2C, 4C and 8C channels."""
        conv = partial(
            ConvNormRelu,
            use_bias=False,
            kernel_init=kaiming_normal_fan_in,
            dtype=self.dtype,
            bn_axis=self.bn_axis,
            padding=self.padding,
            unbiased=self.unbiased,
        )
        stem = scaled(64, self.width)
        half = conv(stem, stride=2, name="stem1")(image, train)
        x = conv(stem, stride=2, name="stem2")(half, train)
        for i in range(1, self.blocks + 1):
            x = Bottleneck(stem, conv, name=f"stage1_block{i}")(x, train)
        # The first stage's map becomes the first branch and begins the second.
        maps, source = [conv(scaled(self.channels, self.width), name="transition1_1")(x, train)], x
        for stage, count in enumerate(self.modules, start=2):
            features = scaled(self.channels * 2 ** (stage - 1), self.width)
            begin = conv(features, stride=2, name=f"transition{stage - 1}_{stage}")
            maps = [*maps, begin(source, train)]
            for i in range(1, count + 1):
                maps = Branches(self.blocks, conv, name=f"stage{stage}_module{i}")(maps, train)
            source = maps[-1]
        return (half, *maps)


# Rewrites one of our modules' paths to PaddleSeg's.
PADDLE = (
    (r"stem(\d)", r"conv_layer1_\1"),
    (r"stage1_block(\d)/layer(\d)", r"la1.bb_layer2_\1.conv\2"),
    (r"stage1_block(\d)/shortcut", r"la1.bb_layer2_\1.conv_down"),
    (r"transition(\d)_(\d)", r"tr\1.transition_tr\1_layer_\2"),
    (
        r"stage(\d)_module(\d)/branch(\d)_block(\d)/layer(\d)",
        r"st\1.stage_st\1_\2.branches_func.bb_st\1_\2_branch_layer_\3_\4.conv\5",
    ),
    # A residual is named by the branch it goes to, then the one it comes from.
    (
        r"stage(\d)_module(\d)/fuse/up(\d)_(\d)",
        r"st\1.stage_st\1_\2.fuse_func.residual_st\1_\2_layer_\4_\3",
    ),
    (
        r"stage(\d)_module(\d)/fuse/down(\d)_(\d)_(\d)",
        r"st\1.stage_st\1_\2.fuse_func.residual_st\1_\2_layer_\4_\3_\5",
    ),
)

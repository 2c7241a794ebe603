"""ResNet (He et al. 2016) in torchvision's layout, v1.5: a bottleneck's stride is on its 3x3."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxmatte.layers import ConvNormRelu, Dtype, kaiming_normal_fan_out, max_pool, scaled


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    features: int
    stride: int = 1
    kernel_init: Initializer | None = kaiming_normal_fan_out
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        conv = partial(
            ConvNormRelu,
            use_bias=False,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            bn_axis=self.bn_axis,
        )
        y = conv(self.features, 3, self.stride, name="layer1")(x, train)
        y = conv(self.features, 3, activation=None, name="layer2")(y, train)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = conv(self.features, 1, self.stride, activation=None, name="shortcut")(x, train)
        return nn.relu(x + y)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the last one has 4 x `features`."""

    features: int
    stride: int = 1
    kernel_init: Initializer | None = kaiming_normal_fan_out
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, 4 * features]."""
        conv = partial(
            ConvNormRelu,
            use_bias=False,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            bn_axis=self.bn_axis,
        )
        outputs = 4 * self.features
        y = conv(self.features, 1, name="layer1")(x, train)
        y = conv(self.features, 3, self.stride, self.dilation, name="layer2")(y, train)
        y = conv(outputs, 1, activation=None, name="layer3")(y, train)
        if self.stride != 1 or x.shape[-1] != outputs:
            x = conv(outputs, 1, self.stride, activation=None, name="shortcut")(x, train)
        return nn.relu(x + y)


class Stage(nn.Module):
    """`count` blocks, numbered from `first`; the first one takes the stride.

    The others are dilated where `dilation` is not 1, which only bottlenecks know.
    """

    block: type[nn.Module]
    count: int
    features: int
    stride: int = 1
    first: int = 0
    kernel_init: Initializer | None = kaiming_normal_fan_out
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, C']."""
        block: Any = partial(
            self.block, kernel_init=self.kernel_init, dtype=self.dtype, bn_axis=self.bn_axis
        )
        dilated = {} if self.dilation == 1 else {"dilation": self.dilation}
        for i in range(self.count):
            shape = {"stride": self.stride} if i == 0 else dilated
            x = block(self.features, name=f"block{self.first + i}", **shape)(x, train)
        return x


class ResNet(nn.Module):
    """The stem and the four stages -> maps at strides 2, 4, 8, 16 and 32.

    With an `output_stride` of 16 the last stage keeps the size: it dilates instead, by
    torchvision's rule, its first block not yet.
    """

    block: type[nn.Module]
    counts: tuple[int, int, int, int]
    width: float = 1.0
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    output_stride: int = 32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """[B, H, W, C] -> five maps; 64, 64, 128, 256, 512 channels (x4 with bottlenecks)."""
        rest: dict[str, Any] = {"dtype": self.dtype, "bn_axis": self.bn_axis}
        stem = ConvNormRelu(
            scaled(64, self.width),
            kernel_size=7,
            stride=2,
            use_bias=False,
            kernel_init=kaiming_normal_fan_out,
            name="stem",
            **rest,
        )
        maps = [stem(image, train)]
        x = max_pool(maps[0], window=3, stride=2, padding=1)
        for i, count in enumerate(self.counts):
            features, stride = scaled(64 * 2**i, self.width), 1 if i == 0 else 2
            dilation = 1
            if 4 * 2**i > self.output_stride:
                stride, dilation = 1, 2
            stage = partial(Stage, self.block, count, features, stride, dilation=dilation)
            x = stage(name=f"stage{i + 1}", **rest)(x, train)
            maps.append(x)
        return tuple(maps)


class FullResolutionResNet34(nn.Module):
    """ResNet-34's stages behind a new stem of stride 1, and two more -> strides 1, 1, 2 ... 32.

    The stem (3x3, with bias) and the stages 5 and 6 (2x2 max pooling, three basic blocks) are
    no part of ImageNet's ResNet-34 and start from PyTorch's default.
    """

    width: float = 1.0
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> seven maps; 64, 64, 128, 256, 512, 512, 512 channels."""
        rest: dict[str, Any] = {"dtype": self.dtype, "bn_axis": self.bn_axis}
        x = ConvNormRelu(scaled(64, self.width), name="new_stem", **rest)(image, train)
        maps = [x]
        for i, count in enumerate((3, 4, 6, 3)):
            features, stride = scaled(64 * 2**i, self.width), 1 if i == 0 else 2
            stage = Stage(BasicBlock, count, features, stride, name=f"stage{i + 1}", **rest)
            x = stage(x, train)
            maps.append(x)
        for i in (5, 6):
            x = max_pool(x, window=2, stride=2, ceil_mode=True)
            # The pooling counts as the stage's part 0, as in the published names.
            new = partial(Stage, BasicBlock, 3, scaled(512, self.width), first=1, kernel_init=None)
            x = new(name=f"new_stage{i}", **rest)(x, train)
            maps.append(x)
        return tuple(maps)


ResNet34 = partial(ResNet, BasicBlock, (3, 4, 6, 3))
ResNet50 = partial(ResNet, Bottleneck, (3, 4, 6, 3))
ResNet101 = partial(ResNet, Bottleneck, (3, 4, 23, 3))

# Rewrites one of our modules' paths to torchvision's.
TORCHVISION = (
    (r"stem/conv$", "conv1"),
    (r"stem/norm$", "bn1"),
    (r"stage(\d)/block(\d+)/layer(\d)/conv$", r"layer\1.\2.conv\3"),
    (r"stage(\d)/block(\d+)/layer(\d)/norm$", r"layer\1.\2.bn\3"),
    (r"stage(\d)/block(\d+)/shortcut/conv$", r"layer\1.\2.downsample.0"),
    (r"stage(\d)/block(\d+)/shortcut/norm$", r"layer\1.\2.downsample.1"),
)

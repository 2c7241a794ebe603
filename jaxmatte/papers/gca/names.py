"""Where the tensors of GCA-Matting's public checkpoints belong."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.papers.contract import (
    TORCH_COUNTER,
    TORCH_LEAVES,
    Entry,
    Official,
    abstract_variables,
    renamed,
    torch_entries,
)
from jaxmatte.papers.gca.network import Model

LAYOUTS = ("official", "mmagic", "imagenet")

_VECTORS = {"u": "weight_u", "v": "weight_v"}
# The convolutions whose kernels PyTorch keeps as (inputs, outputs, 4, 4).
_TRANSPOSED = r"^decoder/(stage\d_block0/layer1|last)/conv$"


def official(model: Model, layout: str = "official") -> Official:
    """Maps public state dicts to the model's variables.

    Args:
      model: the model to fill.
      layout: "official", the authors' checkpoints; "mmagic", mmagic's and mmediting's, whose
        spectral norm is another one and is folded into the kernels; "imagenet", the authors'
        checkpoint of the encoder, which fills its stem and stages.
    """
    if layout not in LAYOUTS:
        raise UserError(f"gca: layout {layout!r} must be one of {', '.join(LAYOUTS)}")
    if layout == "mmagic":
        entries = _entries(model, partial(renamed, rules=_MMAGIC), "weight_orig")
        return Official(entries, {}, TORCH_COUNTER, rewrite=_folded)
    if layout == "imagenet":
        entries = _entries(model, _imagenet_name, "weight_bar")
        classifier = {r"fc\..*": "ImageNet's classifier"}
        widened = partial(_widened, channels=3 + model.trimap_channels)
        return Official(entries, {}, TORCH_COUNTER | classifier, partial=True, rewrite=widened)
    return Official(_entries(model, _official_name, "weight_bar"), {}, TORCH_COUNTER)


def _entries(model: Model, name: Callable[[str], str | None], kernel: str) -> dict[str, Entry]:
    """The entries, by the names of our modules and of a spectral convolution's kernel."""
    variables = abstract_variables(model)

    def spectral(module: str) -> bool:
        return ("batch_stats", *module.split("/"), "u") in variables

    leaves = TORCH_LEAVES | _VECTORS | {"kernel": kernel}
    plain = torch_entries(model, lambda m: None if spectral(m) else name(m))
    return plain | torch_entries(
        model, lambda m: name(m) if spectral(m) else None, leaves, transposed=_TRANSPOSED
    )


def _official_name(module: str) -> str | None:
    name = renamed(module, _OFFICIAL)
    return name and name.replace("encoder.layer4.", "encoder.layer_bottleneck.")


def _imagenet_name(module: str) -> str | None:
    """The name in a file of the encoder alone, which has neither skips nor attention."""
    name = _official_name(module) if module.startswith(("encoder/stem", "encoder/stage")) else None
    return name and name.removeprefix("encoder.")


def _widened(state: Mapping[str, np.ndarray], channels: int) -> dict[str, np.ndarray]:
    """The state with a first convolution of so many inputs: zeros for those of the trimap.

    Sigma stays what it was, because v has zeros there too.
    """
    found, layer = dict(state), "conv1.module"
    kernel, vector = (state.get(f"{layer}.{leaf}") for leaf in ("weight_bar", "weight_v"))
    if kernel is not None and vector is not None and kernel.ndim == 4 and kernel.shape[1] == 3:
        more = channels - 3
        found[f"{layer}.weight_bar"] = np.pad(kernel, ((0, 0), (0, more), (0, 0), (0, 0)))
        found[f"{layer}.weight_v"] = np.pad(vector, (0, more * kernel[0, 0].size))
    return found


def _folded(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state with every kernel divided by its sigma, and vectors that give a sigma of 1.

    Transposed convolutions (the kernels of 4 x 4) are other matrices in mmagic, with a row for each
    output: their vectors are replaced by those of the greatest singular value of ours.
    """
    found = dict(state)
    for name, kernel in state.items():
        layer = name.removesuffix(".weight_orig")
        u, v = (state.get(f"{layer}.{leaf}") for leaf in _VECTORS.values())
        if layer == name or u is None or v is None or kernel.ndim != 4:
            continue  # what is missing or misshaped is told by its name later
        transposed = kernel.shape[2:] == (4, 4)
        matrix = kernel.astype(np.float64)
        matrix = (matrix.swapaxes(0, 1) if transposed else matrix).reshape(-1, v.size)
        if matrix.shape != (u.size, v.size) or matrix.size != kernel.size:
            raise UserError(f"{layer}: kernel {kernel.shape}, u {u.shape} and v {v.shape} disagree")
        sigma = u.astype(np.float64) @ matrix @ v
        found[name] = (kernel / sigma).astype(np.float32)
        if transposed:
            ours = found[name].astype(np.float64).reshape(len(kernel), -1)
            first = np.linalg.eigh(ours @ ours.T)[1][:, -1]
            second = first @ ours
            found[f"{layer}.weight_u"] = first.astype(np.float32)
            found[f"{layer}.weight_v"] = (second / (second @ second)).astype(np.float32)
    return found


# From our modules to theirs; convolutions under the spectral norm lie in a wrapper's `module`.
_OFFICIAL = (
    (r"^(encoder|decoder)/attention/guidance$", r"\1.gca.guidance_conv"),
    (r"^(encoder|decoder)/attention/out_conv$", r"\1.gca.W.0"),
    (r"^(encoder|decoder)/attention/out_norm$", r"\1.gca.W.1"),
    (r"^guidance/layer1/conv$", "encoder.guidance_head.1.module"),
    (r"^guidance/layer1/norm$", "encoder.guidance_head.3"),
    (r"^guidance/layer2/conv$", "encoder.guidance_head.5.module"),
    (r"^guidance/layer2/norm$", "encoder.guidance_head.7"),
    (r"^guidance/layer3/conv$", "encoder.guidance_head.9.module"),
    (r"^guidance/layer3/norm$", "encoder.guidance_head.11"),
    (r"^encoder/stem(\d)/conv$", r"encoder.conv\1.module"),
    (r"^encoder/stem(\d)/norm$", r"encoder.bn\1"),
    (r"^encoder/skip(\d)/layer1/conv$", r"encoder.shortcut.\1.0.module"),
    (r"^encoder/skip(\d)/layer1/norm$", r"encoder.shortcut.\1.2"),
    (r"^encoder/skip(\d)/layer2/conv$", r"encoder.shortcut.\1.3.module"),
    (r"^encoder/skip(\d)/layer2/norm$", r"encoder.shortcut.\1.5"),
    (r"^encoder/stage(\d)_block(\d)/shortcut/conv$", r"encoder.layer\1.\2.downsample.1.module"),
    (r"^encoder/stage(\d)_block(\d)/shortcut/norm$", r"encoder.layer\1.\2.downsample.2"),
    (r"^decoder/stage(\d)_block(\d)/shortcut/conv$", r"decoder.layer\1.\2.upsample.1.module"),
    (r"^decoder/stage(\d)_block(\d)/shortcut/norm$", r"decoder.layer\1.\2.upsample.2"),
    (r"^(\w+)/stage(\d)_block(\d)/layer(\d)/conv$", r"\1.layer\2.\3.conv\4.module"),
    (r"^(\w+)/stage(\d)_block(\d)/layer(\d)/norm$", r"\1.layer\2.\3.bn\4"),
    (r"^decoder/last/conv$", "decoder.conv1.module"),
    (r"^decoder/last/norm$", "decoder.bn1"),
    (r"^decoder/head$", "decoder.conv2"),
)
_MMAGIC = (
    (r"^(encoder|decoder)/attention/guidance$", r"backbone.\1.gca.guidance_conv"),
    (r"^(encoder|decoder)/attention/out_conv$", r"backbone.\1.gca.out_conv.conv"),
    (r"^(encoder|decoder)/attention/out_norm$", r"backbone.\1.gca.out_conv.bn"),
    (r"^guidance/layer1/conv$", "backbone.encoder.guidance_head.0.conv"),
    (r"^guidance/layer1/norm$", "backbone.encoder.guidance_head.0.bn"),
    (r"^guidance/layer2/conv$", "backbone.encoder.guidance_head.1.conv"),
    (r"^guidance/layer2/norm$", "backbone.encoder.guidance_head.1.bn"),
    (r"^guidance/layer3/conv$", "backbone.encoder.guidance_head.2.conv"),
    (r"^guidance/layer3/norm$", "backbone.encoder.guidance_head.2.bn"),
    (r"^encoder/stem(\d)/conv$", r"backbone.encoder.conv\1.conv"),
    (r"^encoder/stem(\d)/norm$", r"backbone.encoder.conv\1.bn"),
    (r"^encoder/skip(\d)/layer1/conv$", r"backbone.encoder.shortcut.\1.0.conv"),
    (r"^encoder/skip(\d)/layer1/norm$", r"backbone.encoder.shortcut.\1.0.bn"),
    (r"^encoder/skip(\d)/layer2/conv$", r"backbone.encoder.shortcut.\1.1.conv"),
    (r"^encoder/skip(\d)/layer2/norm$", r"backbone.encoder.shortcut.\1.1.bn"),
    (r"^(\w+)/stage(\d)_block(\d)/shortcut/conv$", r"backbone.\1.layer\2.\3.interpolation.1.conv"),
    (r"^(\w+)/stage(\d)_block(\d)/shortcut/norm$", r"backbone.\1.layer\2.\3.interpolation.1.bn"),
    (r"^(\w+)/stage(\d)_block(\d)/layer(\d)/conv$", r"backbone.\1.layer\2.\3.conv\4.conv"),
    (r"^(\w+)/stage(\d)_block(\d)/layer(\d)/norm$", r"backbone.\1.layer\2.\3.conv\4.bn"),
    (r"^decoder/last/conv$", "backbone.decoder.conv1.conv"),
    (r"^decoder/last/norm$", "backbone.decoder.conv1.bn"),
    (r"^decoder/head$", "backbone.decoder.conv2.conv"),
)

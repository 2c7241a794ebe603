"""Where the tensors of GFM's public checkpoints belong."""

import re
from functools import partial

from jaxmatte.encoders import densenet, resnet
from jaxmatte.errors import UserError
from jaxmatte.papers.contract import TORCH_COUNTER, Official, renamed, torch_entries
from jaxmatte.papers.gfm.network import PLANS, Model


def official(model: Model, layout: str = "official") -> Official:
    """Maps public state dicts to the model's variables.

    Args:
      model: the model to fill.
      layout: "official", the authors' checkpoints, or "imagenet", torchvision's checkpoint of the
        encoder's backbone, which fills only what it holds of the encoder.
    """
    imagenet = torch_entries(model, partial(_imagenet_name, model.encoder))
    unused = {r"fc\..*": "ImageNet's classifier"}
    if model.encoder == "d121":
        unused = {r"(features\.norm5|classifier)\..*": "ImageNet's classifier and its input"}
    if model.encoder == "r34_2b":
        unused[r"(conv1|bn1)\..*"] = "a stem of stride 1 replaces it"
    if layout == "imagenet":
        # Older files of torchvision's DenseNets have "norm.1" for "norm1".
        layer = re.compile(r"(denselayer\d+\.(?:norm|conv))(\d)")
        tied = {layer.sub(r"\1.\2", name): name for name in imagenet if layer.search(name)}
        return Official(imagenet, tied, {**TORCH_COUNTER, **unused}, partial=True)
    if layout != "official":
        raise UserError(f"gfm: layout {layout!r} must be one of official, imagenet")

    entries = torch_entries(model, partial(_official_name, model.encoder))
    # The checkpoints hold the backbone twice: whole, and as encoder0, encoder1, ...
    whole = "densenet" if model.encoder == "d121" else "resnet"
    names = {entry.path: name for name, entry in entries.items()}
    tied = {f"{whole}.{name}": names[entry.path] for name, entry in imagenet.items()}
    unused = {rf"{whole}\.{pattern}": reason for pattern, reason in unused.items()}
    if model.encoder == "r34_2b":
        unused[r"psp1\..*"] = "defined by the authors, never called"
    return Official(entries, tied, {**TORCH_COUNTER, **unused})


def _imagenet_name(encoder: str, module: str) -> str | None:
    """Torchvision's name of one of our modules; None where the backbone does not have it."""
    rules = densenet.TORCHVISION if encoder == "d121" else resnet.TORCHVISION
    return renamed(module, ((rf"^encoder/{pattern}", name) for pattern, name in rules))


def _official_name(encoder: str, module: str) -> str | None:
    """The authors' name of one of our modules: mostly places in an nn.Sequential."""
    name = _imagenet_name(encoder, module)
    if name and encoder == "r34_2b":  # no pooling stands before its first stage
        name = name.replace("layer1.", "encoder1.")
    if name or module.startswith("encoder/"):
        return renamed(name or module, _NAMES)
    if match := re.search(r"(?:/layer(\d))?/(conv|norm|logits)$", module):
        last = len(PLANS[encoder].head) + 1
        layer = last if match[2] == "logits" else int(match[1] or 1)
        place = 3 * (layer - 1) + (match[2] == "norm")
        return f"{renamed(module[: match.start()], _NAMES)}.{place}"
    return renamed(module, _NAMES)


# From torchvision's names, and ours of what it lacks, to the authors'.
_NAMES = (
    (r"^(conv1|features\.conv0|encoder/new_stem/conv)$", "encoder0.0"),
    (r"^(bn1|features\.norm0|encoder/new_stem/norm)$", "encoder0.1"),
    (r"^layer1\.", "encoder1.1."),
    (r"^(layer|encoder)(\d)\.", r"encoder\2."),
    (r"^features\.denseblock(\d)", r"encoder\1.0"),
    (r"^features\.transition(\d)", r"encoder\1.1"),
    (r"^encoder/reduction/conv$", "encoder4.1"),
    (r"^encoder/reduction/norm$", "encoder4.2"),
    (r"^encoder/new_stage(\d)/block(\d)/layer(\d)/conv$", r"encoder\1.\2.conv\3"),
    (r"^encoder/new_stage(\d)/block(\d)/layer(\d)/norm$", r"encoder\1.\2.bn\3"),
    (r"^glance/psp/stage(\d)$", r"psp_module.stages.\1.1"),
    (r"^glance/psp/bottleneck$", "psp_module.bottleneck"),
    (r"^glance/(psp\d)$", r"\1"),
    (r"^glance/level(\d)$", r"decoder\1_g"),
    (r"^focus/level(\d)$", r"decoder\1_f"),
    (r"^focus/bridge$", "bridge_block"),
    (r"^glance_head", "decoder0_g"),
    (r"^focus_head", "decoder0_f"),
    (r"^rim/expand$", "rim.0"),
    (r"^rim/attention/reduce$", "rim.1.fc.0"),
    (r"^rim/attention/expand$", "rim.1.fc.2"),
    (r"^rim/merge$", "rim.2"),
)

"""Where the tensors of Deep Image Matting's public checkpoints belong."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from jaxmatte.encoders import vgg
from jaxmatte.errors import UserError
from jaxmatte.papers.contract import TORCH_COUNTER, Official, renamed, torch_entries
from jaxmatte.papers.dim.network import LAYOUTS, Model

_CLASSIFIER = {r"classifier\..*": "ImageNet's classifier"}
# A refinement that the model has not been asked for.
_REFINEMENT = {r"(refiner\.|refine_).*": "the refinement, which the model leaves out"}

# Rules that rewrite one of our modules' paths, by the names that a file has.
_NAMES = {
    "mmagic": (
        (r"^encoder/conv(\d)_1$", r"backbone.encoder.layer\1.0"),
        (r"^encoder/conv(\d)_2$", r"backbone.encoder.layer\1.2"),
        (r"^encoder/conv(\d)_3$", r"backbone.encoder.layer\1.4"),
        (r"^conv6$", "backbone.encoder.conv6"),
        (r"^decoder/raw$", "backbone.decoder.deconv1"),
        (r"^decoder/(deconv\d)$", r"backbone.decoder.\1_1"),
        (r"^refiner/conv(\d)$", r"refiner.refine_conv\1"),
        (r"^refiner/correction$", "refiner.refine_pred"),
    ),
    "hct": (
        (r"^encoder/(conv\d_\d)$", r"\1"),
        (r"^conv6$", "conv6_1"),
        (r"^decoder/raw$", "deconv1"),
        (r"^decoder/(deconv\d)$", r"\1_1"),
        (r"^refiner/conv(\d)$", r"refine_conv\1"),
        (r"^refiner/correction$", "refine_pred"),
    ),
    "foamliu": (
        (r"^encoder/conv(\d)_(\d)/conv$", r"down\1.conv\2.cbr_unit.0"),
        (r"^encoder/conv(\d)_(\d)/norm$", r"down\1.conv\2.cbr_unit.1"),
        (r"^decoder/deconv(\d)/conv$", r"up\1.conv.cbr_unit.0"),
        (r"^decoder/deconv(\d)/norm$", r"up\1.conv.cbr_unit.1"),
    ),
}
# Whose files a model can be filled by; the first one's are its own. hct's first releases and
# mmagic have the same network.
_FILES = {
    "mmagic": ("mmagic", "hct"),
    "hct_v12": ("hct", "mmagic"),
    "hct_v14": ("hct",),
    "hct_v15": ("hct",),
    "foamliu": ("foamliu",),
    "paper": (),
}


def official(model: Model, layout: str = "official") -> Official:
    """Maps public state dicts to the model's variables.

    Args:
      model: the model to fill.
      layout: whose names a file has: "mmagic", "hct" (every release) or "foamliu"; "official"
        stands for those of the model's own layout, and so does its name. With "_stage1" behind it
        the file has no refinement, and all else is filled, for stage 2 to go on from. "vgg16"
        ("imagenet") is torchvision's ImageNet checkpoint, for the encoder only, with foamliu's
        layout also "vgg16_bn".
    """
    files = _FILES[model.layout]
    classifiers = ("vgg16_bn", "vgg16") if LAYOUTS[model.layout].norm else ("vgg16",)
    known = (*files, *(f"{file}_stage1" for file in files if model.refine), *classifiers)
    chosen = classifiers[0] if layout == "imagenet" else layout
    asked = layout.removesuffix("_stage1")
    if files and asked in ("official", model.layout):
        chosen = layout.replace(asked, files[0])
    if chosen not in known:
        raise UserError(
            f"dim: layout {layout!r} with model.layout={model.layout!r}, refine={model.refine} "
            f"must be one of {', '.join(known)}"
        )
    if chosen in classifiers:
        return _classifier(model, chosen)
    names = chosen.removesuffix("_stage1")
    entries = torch_entries(model, partial(renamed, rules=_NAMES[names]))
    if chosen != names:
        entries = {n: entry for n, entry in entries.items() if entry.path[1] != "refiner"}
    unused = TORCH_COUNTER if model.refine else TORCH_COUNTER | _REFINEMENT
    return Official(entries, unused=unused, partial=chosen != names)


def _classifier(model: Model, layout: str) -> Official:
    """Torchvision's VGG-16, with batch normalisation ("vgg16_bn") or without."""
    table = vgg.TORCHVISION_NORM if layout == "vgg16_bn" else vgg.TORCHVISION
    rules = [(rf"^encoder/{pattern}", name) for pattern, name in table]
    if model.layout == "paper":  # fc6, which sees 7 x 7 x 512 numbers, as a convolution
        rules.append((r"^conv6$", "classifier.0"))
    entries = torch_entries(model, partial(renamed, rules=rules))
    return Official(entries, unused=TORCH_COUNTER | _CLASSIFIER, partial=True, rewrite=_fitted)


def _fitted(state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Torchvision's state dict with what the first layer and fc6 need to take their new places.

    The trimap's channel begins with zeros (section 4.1); a pixel of the 7 x 7 that fc6 sees is a
    column of its matrix for each channel.
    """
    fitted = dict(state)
    first, fc6 = state.get("features.0.weight"), state.get("classifier.0.weight")
    if first is not None and first.ndim == 4 and first.shape[1] == 3:
        fitted["features.0.weight"] = np.pad(first, ((0, 0), (0, 1), (0, 0), (0, 0)))
    if fc6 is not None and fc6.ndim == 2 and fc6.shape[1] % 49 == 0:
        fitted["classifier.0.weight"] = fc6.reshape(len(fc6), -1, 7, 7)
    return fitted

"""Where the tensors of BGMv2's public checkpoints belong, and of those it starts from."""

from functools import partial

from jaxmatte.encoders import mobilenet, resnet
from jaxmatte.errors import UserError
from jaxmatte.papers.bgmv2.network import Model
from jaxmatte.papers.contract import TORCH_COUNTER, Entry, Official, renamed, torch_entries

LAYOUTS = ("official", "base", "deeplab", "imagenet")

_IMAGENET = {
    r"(fc|classifier)\..*": "ImageNet's classifier",
    r"features\.18\..*": "what ImageNet's classifier reads",
}
_DEEPLAB = {r"classifier\.classifier\.[1-4]\..*": "DeepLabV3's classifier"}
_COLOURS = "it reads one picture, not two"


def official(model: Model, layout: str = "official") -> Official:
    """Maps public state dicts to the model's variables.

    Args:
      model: the model to fill.
      layout: "official", the authors' checkpoints, of which the base network leaves the refiner
        unused; "base", a checkpoint of the base network alone, for a model with a refiner;
        "deeplab", DeepLabV3's for VOC that the authors start from, which fills the encoder and the
        ASPP; "imagenet", torchvision's checkpoint of the encoder. The last two do not hold the
        first convolution: theirs is for three channels.
    """
    if layout not in LAYOUTS:
        raise UserError(f"bgmv2: layout {layout!r} must be one of {', '.join(LAYOUTS)}")
    encoder = torch_entries(model, partial(_encoder_name, _table(model)))
    if layout == "imagenet":
        return _without_stem(encoder, _IMAGENET)
    entries = {f"backbone.{name}": entry for name, entry in encoder.items()}
    if layout == "deeplab":
        entries = {_deeplab_name(model, name): entry for name, entry in entries.items()}
        pyramid = torch_entries(model, partial(renamed, rules=_ASPP)).items()
        entries |= {f"classifier.classifier.0{n.removeprefix('aspp')}": e for n, e in pyramid}
        return _without_stem(entries, _DEEPLAB)
    entries |= torch_entries(model, partial(renamed, rules=(*_ASPP, *_DECODER)))
    if layout == "base":
        return Official(entries, {}, TORCH_COUNTER, partial=model.refine != "none")
    entries |= torch_entries(model, partial(renamed, rules=_REFINER))
    unused = {r"refiner\..*": "refine=none has no refiner"} if model.refine == "none" else {}
    return Official(entries, {}, TORCH_COUNTER | unused)


def _table(model: Model) -> tuple[tuple[str, str], ...]:
    mobile = model.encoder == "mobilenet_v2"
    return mobilenet.TORCHVISION if mobile else resnet.TORCHVISION


def _encoder_name(table: tuple[tuple[str, str], ...], module: str) -> str | None:
    return renamed(module, ((rf"^encoder/{pattern}", name) for pattern, name in table))


def _without_stem(entries: dict[str, Entry], unused: dict[str, str]) -> Official:
    """A part of the model, without its first convolution."""
    stem = ("params", "encoder", "stem", "conv", "kernel")
    kept = {name: entry for name, entry in entries.items() if entry.path != stem}
    (dropped,) = set(entries) - set(kept)
    return Official(kept, {}, {**TORCH_COUNTER, **unused, dropped: _COLOURS}, partial=True)


def _deeplab_name(model: Model, name: str) -> str:
    """DeepLabV3's name of an encoder's tensor: its MobileNetV2 is in two parts."""
    if model.encoder != "mobilenet_v2":
        return name
    block = int(name.split(".")[2])
    part = "low_level_features" if block < 4 else "high_level_features"
    return name.replace("features", part, 1)


# From our modules' paths to the authors'.
_ASPP = (
    (r"^aspp/point/conv$", "aspp.convs.0.0"),
    (r"^aspp/point/norm$", "aspp.convs.0.1"),
    (r"^aspp/atrous(\d)/conv$", r"aspp.convs.\1.0"),
    (r"^aspp/atrous(\d)/norm$", r"aspp.convs.\1.1"),
    (r"^aspp/pooled/conv$", "aspp.convs.4.1"),
    (r"^aspp/pooled/norm$", "aspp.convs.4.2"),
    (r"^aspp/project/conv$", "aspp.project.0"),
    (r"^aspp/project/norm$", "aspp.project.1"),
)
_DECODER = (
    (r"^decoder/layer(\d)(?:/conv)?$", r"decoder.conv\1"),
    (r"^decoder/layer(\d)/norm$", r"decoder.bn\1"),
)
_REFINER = (
    (r"^refiner/layer(\d)(?:/conv)?$", r"refiner.conv\1"),
    (r"^refiner/layer(\d)/norm$", r"refiner.bn\1"),
)

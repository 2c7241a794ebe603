"""Where the tensors of MODNet's public checkpoints belong."""

from functools import partial

from jaxmatte.encoders import hrnet, mobilenet, resnet
from jaxmatte.errors import UserError
from jaxmatte.papers.contract import PADDLE_LEAVES, TORCH_COUNTER, Official, renamed, torch_entries
from jaxmatte.papers.modnet.network import Model

_CLASSIFIER = {
    r"(fc|classifier)\..*": "ImageNet's classifier",
    r"(last_cls_out|cls_head_add\d+|conv_last|out)\..*": "ImageNet's classifier",  # HRNet's
}


def official(model: Model, layout: str = "official") -> Official:
    """Maps public state dicts to the model's variables.

    Args:
      model: the model to fill.
      layout: "official", the authors' checkpoints (and e-ASPP's, named alike); "imagenet", a
        checkpoint of the encoder, torchvision's (of HRNet PaddleSeg's); "human_seg", the backbone
        file that the authors start training from. The last two fill the encoder only.
    """
    layouts = ["imagenet"]
    if model.encoder == "mobilenet_v2":
        layouts = ["official", "human_seg", "imagenet"]
    if layout not in layouts:
        raise UserError(
            f"modnet: layout {layout!r} with encoder={model.encoder!r} must be one of "
            f"{', '.join(layouts)}"
        )
    if layout == "imagenet":
        if model.encoder == "hrnet_w18":
            entries = torch_entries(model, _hrnet_name, PADDLE_LEAVES)
        else:
            mobile = model.encoder == "mobilenet_v2"
            table = mobilenet.TORCHVISION if mobile else resnet.TORCHVISION
            entries = torch_entries(model, partial(_encoder_name, table))
        return Official(entries, {}, TORCH_COUNTER | _CLASSIFIER, partial=True)
    backbone = torch_entries(model, partial(_encoder_name, mobilenet.FLAT))
    if layout == "human_seg":
        return Official(backbone, {}, TORCH_COUNTER | _CLASSIFIER, partial=True)
    whole = {f"backbone.model.{name}": entry for name, entry in backbone.items()}
    whole |= torch_entries(model, _branch_name)
    # The backbone is also a part of the low-resolution branch, and is listed again there.
    tied = {f"lr_branch.{name}": name for name in whole if name.startswith("backbone.")}
    return Official(whole, tied, TORCH_COUNTER)


def _encoder_name(table: tuple[tuple[str, str], ...], module: str) -> str | None:
    return renamed(module, ((rf"^encoder/{pattern}", name) for pattern, name in table))


def _hrnet_name(module: str) -> str | None:
    layer, _, kind = module.rpartition("/")
    name = renamed(layer, ((rf"^encoder/{pattern}$", name) for pattern, name in hrnet.PADDLE))
    return name and f"{name}.{'_conv' if kind == 'conv' else '_batch_norm'}"


def _branch_name(module: str) -> str | None:
    """The authors' name of a module of the three branches; None of the encoder's."""
    block = renamed(module, _BLOCKS)
    return block and renamed(block, _LAYERS)


_BLOCKS = (
    (r"^semantic/attention/reduce$", "lr_branch.se_block.fc.0"),
    (r"^semantic/attention/expand$", "lr_branch.se_block.fc.2"),
    (r"^semantic/easpp/atrous(\d)", r"lr_branch.easpp.atrous.\1"),
    (r"^semantic/easpp/", "lr_branch.easpp."),
    (r"^semantic/at(\d+)", r"lr_branch.conv_lr\1x"),
    (r"^semantic/head", "lr_branch.conv_lr"),
    (r"^detail/encoder(\d)", r"hr_branch.tohr_enc\1x"),
    (r"^detail/(?:down|merge)(\d)", r"hr_branch.conv_enc\1x"),
    (r"^detail/at([42])_(\d)", r"hr_branch.conv_hr\1x.\2"),
    (r"^detail/at1", "hr_branch.conv_hr.0"),
    (r"^detail/head", "hr_branch.conv_hr.1"),
    (r"^fusion/at4", "f_branch.conv_lr4x"),
    (r"^fusion/at2", "f_branch.conv_f2x"),
    (r"^fusion/at1", "f_branch.conv_f.0"),
    (r"^fusion/head", "f_branch.conv_f.1"),
)
_LAYERS = (
    (r"(se_block.*)$", r"\1"),
    (r"(easpp.*)/conv$", r"\1.0"),
    (r"(easpp.*)/norm$", r"\1.1"),
    (r"/norm$", ".layers.1.bnorm"),
    (r"^(.*?)(?:/conv)?$", r"\1.layers.0"),  # a head is a convolution and nothing else
)

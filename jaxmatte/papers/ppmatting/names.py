"""Where the tensors of PaddleSeg's checkpoints (`.pdparams`) belong."""

import re
from collections.abc import Mapping
from functools import partial

from jaxmatte.encoders import hrnet, resnet_vd, stdc
from jaxmatte.errors import UserError
from jaxmatte.papers.contract import PADDLE_LEAVES, Official, renamed, torch_entries
from jaxmatte.papers.ppmatting.network import Model

WHOLE = ("official", "paddleseg")
BACKBONE = ("imagenet", "paddleseg_backbone")


def official(model: Model, layout: str = "official") -> Official:
    """Maps public state dicts to the model's variables.

    Args:
      model: the model to fill.
      layout: "official" or "paddleseg", PaddleSeg's checkpoint of the whole network; "imagenet" or
        "paddleseg_backbone", its pretrained encoder, which fills only that.
    """
    if layout in WHOLE:
        return Official(torch_entries(model, partial(_official_name, model.encoder), PADDLE_LEAVES))
    if layout not in BACKBONE:
        known = ", ".join((*WHOLE, *BACKBONE))
        raise UserError(f"ppmatting: layout {layout!r} must be one of {known}")
    entries = torch_entries(model, partial(_backbone_name, model.encoder), PADDLE_LEAVES)
    classifier = r"(last_cls_out|cls_head_add\d+|conv_last|out|fc|bn|linear)\..*"
    return Official(entries, unused={classifier: "ImageNet's classifier"}, partial=True)


def _official_name(encoder: str, module: str) -> str | None:
    """PaddleSeg's name of one of our modules."""
    name = _backbone_name(encoder, module)
    if name:
        return f"backbone.{name}"
    ends = _SHORT if re.search("/(attention|perceptron)\\d/.*/", module) else _LONG
    return _named(module, _NAMES, ends if encoder == "stdc1" else _LONG)


def _backbone_name(encoder: str, module: str) -> str | None:
    """The same of the encoder, without the network around it; None for all other modules."""
    found = re.match(r"((?:v2|human)/)?encoder/", module)
    if not found:
        return None
    rules = {"stdc1": stdc.PADDLE, "resnet34_vd": resnet_vd.PADDLE}.get(encoder, hrnet.PADDLE)
    ends = _LONG
    if encoder == "stdc1":
        ends = _PLACES if "/reduce/" in module else {"conv": ".conv", "norm": ".bn"}
    return _named(module[found.end() :], rules, ends)


def _named(module: str, rules: tuple[tuple[str, str], ...], ends: Mapping[str, str]) -> str | None:
    """By the first rule of the whole path but for its end: a convolution's, its normalisation's."""
    body, _, end = module.rpartition("/")
    if end not in ends:
        body, end = module, ""
    name = renamed(body, ((f"^{pattern}$", foreign) for pattern, foreign in rules))
    return f"{name}{ends.get(end, '')}" if name else None


_LONG = {"conv": "._conv", "norm": "._batch_norm"}
_SHORT = {"conv": ".c", "norm": ".bn"}
_PLACES = {"conv": ".0", "norm": ".1"}

_TRANSFORMER = r"dpp.pp2.\1.1.transformer_blocks.0"
_NAMES = (
    # PP-Matting
    (r"scb/psp/stage(\d)", r"scb.psp_module.stages.\1.1"),
    (r"scb/psp/bottleneck", "scb.psp_module.conv_bn_relu2"),
    (r"scb/side(\d)", r"scb.psps.\1.0"),
    (r"scb/stage(\d)/layer(\d)", r"scb.scb_stages.\1.\2"),
    (r"scb/head/layer(\d)", r"scb.scb_stages.5.\1"),
    (r"scb/head/logits", "scb.scb_stages.5.2"),
    (r"hrdb/block(\d)/layer1", r"hrdb.res_list.\1.conv0"),
    (r"hrdb/block(\d)/layer2", r"hrdb.res_list.\1.conv1"),
    (r"hrdb/block(\d)/shortcut", r"hrdb.res_list.\1.short"),
    (r"hrdb/reduce(\d)", r"hrdb.convs.\1"),
    (r"hrdb/guidance(\d)", r"hrdb.gf_list.\1"),
    (r"hrdb/gate(\d)/norm1", r"hrdb.gates.\1._gate_conv.0"),
    (r"hrdb/gate(\d)/hidden", r"hrdb.gates.\1._gate_conv.1"),
    (r"hrdb/gate(\d)/score", r"hrdb.gates.\1._gate_conv.3"),
    (r"hrdb/gate(\d)/norm2", r"hrdb.gates.\1._gate_conv.4"),
    (r"hrdb/gate(\d)/merge", r"hrdb.gates.\1.conv"),
    (r"hrdb/logits", "hrdb.detail_conv"),
    # PP-MattingV2
    (r"v2/dpp/middle", "dpp.conv_mid"),
    (r"v2/dpp/output", "dpp.conv_out"),
    (r"v2/dpp/attention(\d)/query", f"{_TRANSFORMER}.attn.to_q"),
    (r"v2/dpp/attention(\d)/key", f"{_TRANSFORMER}.attn.to_k"),
    (r"v2/dpp/attention(\d)/value", f"{_TRANSFORMER}.attn.to_v"),
    (r"v2/dpp/attention(\d)/merge", f"{_TRANSFORMER}.attn.proj.1"),
    (r"v2/dpp/perceptron(\d)/expand", f"{_TRANSFORMER}.mlp.fc1"),
    (r"v2/dpp/perceptron(\d)/depthwise", f"{_TRANSFORMER}.mlp.dwconv"),
    (r"v2/dpp/perceptron(\d)/reduce", f"{_TRANSFORMER}.mlp.fc2"),
    (r"v2/fusion(\d+)/pointwise(\d)", r"mlff\1x.pwconvs.\2"),
    (r"v2/fusion(\d+)/depthwise(\d)", r"mlff\1x.dwconvs.\2"),
    (r"v2/fusion(\d+)/attention1", r"mlff\1x.conv_atten.0"),
    (r"v2/fusion(\d+)/attention2", r"mlff\1x.conv_atten.1"),
    (r"v2/fusion(\d+)/merge", r"mlff\1x.conv_out"),
    (r"v2/head/layer1", "matting_head_mlff2x.conv"),
    (r"v2/head/layer2", "matting_head_mlff2x.mid_conv.0"),
    (r"v2/head/logits", "matting_head_mlff2x.conv_out"),
    (r"v2/auxiliary_head/layer1", "matting_head_mlff8x.conv"),
    (r"v2/auxiliary_head/logits", "matting_head_mlff8x.conv_out"),
    # PP-HumanMatting
    (r"human/glance/psp/stage(\d)", r"psp_module.stages.\1.1"),
    (r"human/glance/psp/bottleneck", "psp_module.conv_bn_relu2"),
    *((rf"human/glance/side{i}", f"psp{4 - i}.0") for i in range(4)),
    *((rf"human/glance/stage{i}/layer(\d)", rf"decoder{5 - i}_g.\1") for i in range(5)),
    *((rf"human/focus/stage{i}/layer(\d)", rf"decoder{5 - i}_f.\1") for i in range(5)),
    (r"human/glance/head/layer(\d)", r"decoder0_g.\1"),
    (r"human/glance/head/logits", "decoder0_g.2"),
    (r"human/focus/head/layer(\d)", r"decoder0_f.\1"),
    (r"human/focus/head/logits", "decoder0_f.2"),
    (r"human/focus/bridge(\d)", r"bridge_block.\1"),
    (r"human/refiner/layer(\d)", r"refiner.conv\1"),
    (r"human/refiner/logits", "refiner.conv4"),
)

"""The names of BiSeNet V2's tensors in CoinCheung's and in mmsegmentation's checkpoints."""

import re
from functools import partial

import flax.linen as nn

from jaxmatte.errors import UserError
from jaxmatte.papers.bisenetv2.network import Model
from jaxmatte.papers.contract import TORCH_COUNTER, Official, renamed, torch_entries


def official(model: nn.Module, layout: str = "official") -> Official:
    """The map from foreign names to ours.

    Args:
      model: a `Model`.
      layout: "official": CoinCheung's checkpoints, with the booster heads or without them;
        "mmseg": mmsegmentation's, whose booster heads are others and are left out; "backbone":
        CoinCheung's pretrained branches.
    """
    assert isinstance(model, Model)
    if layout == "official":
        entries = torch_entries(model, partial(_official_name, model.layout))
        heads = {} if model.booster else {r"aux\d.*": "a head that only training needs"}
        return Official(entries, unused=TORCH_COUNTER | heads)
    if layout == "backbone":
        entries = torch_entries(model, partial(_branch_name, model.layout))
        unused = {r"(?!(detail|segment)\.).*": "no part of the two branches"}
        return Official(entries, unused=TORCH_COUNTER | unused, partial=True)
    if layout != "mmseg":
        raise UserError(f"bisenetv2: layout {layout!r} must be one of official, mmseg, backbone")
    if model.booster or model.layout != "mmseg":
        raise UserError(
            "bisenetv2: layout 'mmseg' needs model.layout='mmseg' and model.booster=False (its "
            f"auxiliary heads are of another shape), not {model.layout!r} and {model.booster}"
        )
    entries = torch_entries(model, _mmseg_name)
    unused = {r"auxiliary_head\..*": "a head of another shape, which only training needs"}
    return Official(entries, unused=TORCH_COUNTER | unused)


def _official_name(layout: str, module: str) -> str:
    """CoinCheung's name of one of our modules; of layout "paper" the heads have other names."""
    rules = (*_PLAIN_HEADS, *_OFFICIAL) if layout == "paper" else _OFFICIAL
    # The context shares the fifth stage, and the layers before it are called 5_4.
    return re.sub(r"^(segment\.S|aux)5\.", r"\g<1>5_4.", _foreign(rules, module))


def _branch_name(layout: str, module: str) -> str | None:
    """The same, of the two branches only."""
    branches = module.startswith(("detail/", "semantic/"))
    return _official_name(layout, module) if branches else None


def _mmseg_name(module: str) -> str:
    """Mmsegmentation's name of one of our modules of the main path."""
    name = _foreign(_MMSEG, module)
    return re.sub(r"<(\d)>", lambda number: str(int(number[1]) - 1), name)


def _foreign(rules: tuple[tuple[str, str], ...], module: str) -> str:
    """A module's name by the first rule that matches; "a|b" ends in a convolution's or a norm's."""
    name = renamed(module, rules)
    assert name is not None, module
    stem, _, leaf = name.rpartition(".")
    return f"{stem}.{leaf.split('|')[module.endswith('/norm')]}" if "|" in leaf else name


_LEAF = "/(?:conv|norm)$"
_STAGE = r"^semantic/stage(\d)_(\d+)"

_OFFICIAL = (
    (rf"^detail/stage(\d)_(\d){_LEAF}", r"detail.S\1.\2.conv|bn"),
    (rf"^semantic/stem/first{_LEAF}", "segment.S1S2.conv.conv|bn"),
    (rf"^semantic/stem/left1{_LEAF}", "segment.S1S2.left.0.conv|bn"),
    (rf"^semantic/stem/left2{_LEAF}", "segment.S1S2.left.1.conv|bn"),
    (rf"^semantic/stem/fuse{_LEAF}", "segment.S1S2.fuse.conv|bn"),
    (rf"{_STAGE}/gather{_LEAF}", r"segment.S\1.\2.conv1.conv|bn"),
    (rf"^semantic/stage(\d)_(0)/expand{_LEAF}", r"segment.S\1.\2.dwconv1.0|1"),
    (rf"{_STAGE}/expand{_LEAF}", r"segment.S\1.\2.dwconv.0|1"),
    (rf"{_STAGE}/depthwise{_LEAF}", r"segment.S\1.\2.dwconv2.0|1"),
    (rf"{_STAGE}/project{_LEAF}", r"segment.S\1.\2.conv2.0|1"),
    (rf"{_STAGE}/shortcut1{_LEAF}", r"segment.S\1.\2.shortcut.0|1"),
    (rf"{_STAGE}/shortcut2{_LEAF}", r"segment.S\1.\2.shortcut.2|3"),
    (r"^semantic/context/norm$", "segment.S5_5.bn"),
    (rf"^semantic/context/mean{_LEAF}", "segment.S5_5.conv_gap.conv|bn"),
    (rf"^semantic/context/last{_LEAF}", "segment.S5_5.conv_last.conv|bn"),
    (r"^semantic/context/last$", "segment.S5_5.conv_last"),
    (rf"^aggregation/detail_fine1{_LEAF}", "bga.left1.0|1"),
    (r"^aggregation/detail_fine2$", "bga.left1.2"),
    (rf"^aggregation/detail_coarse{_LEAF}", "bga.left2.0|1"),
    (rf"^aggregation/semantic_fine{_LEAF}", "bga.right1.0|1"),
    (rf"^aggregation/semantic_coarse1{_LEAF}", "bga.right2.0|1"),
    (r"^aggregation/semantic_coarse2$", "bga.right2.2"),
    (rf"^aggregation/merge{_LEAF}", "bga.conv.0|1"),
    (rf"^head/conv{_LEAF}", "head.conv.conv|bn"),
    (r"^head/logits$", "head.conv_out.1"),
    (rf"^auxiliary(\d)/conv{_LEAF}", r"aux\1.conv.conv|bn"),
    (rf"^auxiliary(\d)/widen{_LEAF}", r"aux\1.conv_out.0.1.conv|bn"),
    (r"^auxiliary(\d)/logits$", r"aux\1.conv_out.1"),
)
# Heads as the paper draws them: one convolution, then the logits.
_PLAIN_HEADS = (
    (rf"^head/conv{_LEAF}", "head.conv.0|1"),
    (r"^head/logits$", "head.out"),
    (rf"^auxiliary(\d)/conv{_LEAF}", r"aux\1.conv.0|1"),
    (r"^auxiliary(\d)/logits$", r"aux\1.out"),
)

# mmsegmentation's; of a number in <> one less is meant.
_MMSEG = (
    (rf"^detail/stage(\d)_(\d){_LEAF}", r"backbone.detail.detail_branch.<\1>.\2.conv|bn"),
    (rf"^semantic/stem/first{_LEAF}", "backbone.semantic.stage1.conv_first.conv|bn"),
    (rf"^semantic/stem/left(\d){_LEAF}", r"backbone.semantic.stage1.convs.<\1>.conv|bn"),
    (rf"^semantic/stem/fuse{_LEAF}", "backbone.semantic.stage1.fuse_last.conv|bn"),
    (rf"{_STAGE}/gather{_LEAF}", r"backbone.semantic.stage<\1>.\2.conv1.conv|bn"),
    (rf"{_STAGE}/expand{_LEAF}", r"backbone.semantic.stage<\1>.\2.dwconv.0.conv|bn"),
    (rf"{_STAGE}/depthwise{_LEAF}", r"backbone.semantic.stage<\1>.\2.dwconv.1.conv|bn"),
    (rf"{_STAGE}/project{_LEAF}", r"backbone.semantic.stage<\1>.\2.conv2.0.conv|bn"),
    (
        rf"{_STAGE}/shortcut1{_LEAF}",
        r"backbone.semantic.stage<\1>.\2.shortcut.0.depthwise_conv.conv|bn",
    ),
    (
        rf"{_STAGE}/shortcut2{_LEAF}",
        r"backbone.semantic.stage<\1>.\2.shortcut.0.pointwise_conv.conv|bn",
    ),
    (r"^semantic/context/norm$", "backbone.semantic.stage4_CEBlock.gap.1"),
    (rf"^semantic/context/mean{_LEAF}", "backbone.semantic.stage4_CEBlock.conv_gap.conv|bn"),
    (rf"^semantic/context/last{_LEAF}", "backbone.semantic.stage4_CEBlock.conv_last.conv|bn"),
    (rf"^aggregation/detail_fine1{_LEAF}", "backbone.bga.detail_dwconv.0.depthwise_conv.conv|bn"),
    (r"^aggregation/detail_fine2$", "backbone.bga.detail_dwconv.0.pointwise_conv.conv"),
    (rf"^aggregation/detail_coarse{_LEAF}", "backbone.bga.detail_down.0.conv|bn"),
    (rf"^aggregation/semantic_fine{_LEAF}", "backbone.bga.semantic_conv.0.conv|bn"),
    (
        rf"^aggregation/semantic_coarse1{_LEAF}",
        "backbone.bga.semantic_dwconv.0.depthwise_conv.conv|bn",
    ),
    (r"^aggregation/semantic_coarse2$", "backbone.bga.semantic_dwconv.0.pointwise_conv.conv"),
    (rf"^aggregation/merge{_LEAF}", "backbone.bga.conv.conv|bn"),
    (rf"^head/conv{_LEAF}", "decode_head.convs.0.conv|bn"),
    (r"^head/logits$", "decode_head.conv_seg"),
)

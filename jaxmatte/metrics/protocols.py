"""Protocols: what a published matting number was measured on, and how.

Two papers' "SAD" differ by region, by quantisation and by what the trimap overrules. A protocol
is the record of one choice of these; every printed metric carries its name and region.
"""

import dataclasses
import difflib

from jaxmatte.errors import UserError


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a metric is measured.

    Attributes:
      name: how tables and configs call it.
      region: which pixels count: "whole", or where the trimap is "unknown" (the byte 128),
        "foreground" (255) or "background" (0). Without a trimap the region is the whole image.
      override: the trimap's certain pixels overrule the prediction before it is measured.
      quantise: prediction and truth are rounded to bytes, as they are when read from files.
      needs_trimap: without one the protocol means nothing.
      scale: SAD is the sum of differences divided by this.
    """

    name: str
    region: str
    override: bool = False
    quantise: bool = False
    needs_trimap: bool = False
    scale: float = 1000.0


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # The evaluation code published with Deep Image Matting (Xu et al., CVPR 2017).
        Protocol("dim", region="unknown", quantise=True),
        # The evaluation code published with GFM (Li et al., IJCV 2022), and its SAD-TRAN, -FG, -BG.
        Protocol("gfm", region="whole"),
        Protocol("gfm-transition", region="unknown", override=True, needs_trimap=True),
        Protocol("gfm-foreground", region="foreground", needs_trimap=True),
        Protocol("gfm-background", region="background", needs_trimap=True),
    )
}


def get(name: str | Protocol) -> Protocol:
    """The protocol of that name; a `Protocol` is itself."""
    if isinstance(name, Protocol):
        return name
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0)
    raise UserError(
        f"metrics: no protocol {name!r}; did you mean {near[0]!r}? There are {', '.join(PROTOCOLS)}"
    )


def region(protocol: str | Protocol = "dim", trimap: bool = True) -> str:
    """The region that is measured, given whether there is a trimap."""
    record = get(protocol)
    if not trimap and record.needs_trimap:
        raise UserError(f"metrics: protocol {record.name!r} needs a trimap; give one or use 'gfm'")
    return record.region if trimap else "whole"


def label(metric: str, protocol: str | Protocol = "dim", trimap: bool = True) -> str:
    """How a table calls a number, e.g. "SAD[dim, unknown]" or, without a trimap, "SAD[dim, whole]".

    Args:
      metric: "sad", "mse" or "mad", in any case.
      protocol: a name or a record.
      trimap: whether the metric is given a trimap.
    """
    return f"{metric.upper()}[{get(protocol).name}, {region(protocol, trimap)}]"

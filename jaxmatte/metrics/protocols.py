"""Protocols: what a published matting number was measured on, and how.

Two papers' "SAD" differ by region, by quantisation and by what the trimap overrules; their "Grad"
by the kernel, their "Conn" by what counts as a component. A protocol is the record of one choice of
all these; every printed metric carries its name and region.
"""

import dataclasses
import difflib

from jaxmatte.errors import UserError

BYTE = {"unknown": 128, "foreground": 255, "background": 0}  # of a trimap, by region
SLACK = 1e-3  # floats may lie outside of 0..1 by what rounding and resizing do


@dataclasses.dataclass(frozen=True)
class Gradient:
    """How Grad is measured: the summed squared difference of gradient magnitudes, over `scale`.

    Attributes:
      kernel: "dim": derivative of a Gaussian of sigma 1.4, 9 x 9, of Euclidean norm 1, the border
        repeated; "gfm": the same derivative at its true scale and of radius 6, the border mirrored
        with its edge.
      stretch: prediction and truth are stretched to 0..1 first, each by its own least and largest
        value. It hides a washed-out matte; it is how the Adobe evaluation code has it.
      scale: what the sum is divided by.
    """

    kernel: str = "dim"
    stretch: bool = True
    scale: float = 1000.0


@dataclasses.dataclass(frozen=True)
class Connectivity:
    """How Conn is measured, over ten thresholds 0.1 .. 1 and 4-connected components.

    Attributes:
      thresholds: "single": a value that is k/10 passes the threshold k/10, as in single precision
        (for bytes: at least ceil(25.5 k)); "double": as NumPy's `arange(0, 1.1, 0.1)` has it, where
        0.3, 0.6 and 0.7 are 1e-16 too large and the byte 153 fails 0.6.
      largest: whose largest component is meant: "foreground", or, as a mistake has it, "any":
        all that lies below the threshold counts as one component too, and may win.
      empty: what a threshold means that nothing passes: "nothing": no pixel is connected there;
        "skipped": as a mistake has it, the threshold is left out.
      ties: which of equally large components is taken: the first by "rows" or by "columns"
        (as MATLAB goes through a picture).
      scale: what the sum is divided by.
    """

    thresholds: str = "single"
    largest: str = "foreground"
    empty: str = "nothing"
    ties: str = "rows"
    scale: float = 1000.0


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a metric is measured.

    Attributes:
      name: how tables and configs call it.
      region: which pixels count: "whole", or where the trimap is "unknown" (the byte 128),
        "foreground" (255) or "background" (0). Without a trimap the region is the whole image.
      override: the trimap's certain pixels overrule the prediction before it is measured.
      sum_whole: sums are over the whole image, while means still divide by the region's pixels; of
        a region without any there is no mean, and it measures 0.
      quantise: prediction and truth are rounded to bytes, as they are when read from files.
      needs_trimap: without one the protocol means nothing.
      band: without a trimap, one is made: unknown where the true alpha is in .06 .. .96, closed by
        ten dilations and ten erosions with a 3 x 3 cross.
      crop: both sides are cut to a multiple of this, at the bottom and the right.
      scale: SAD is the sum of differences divided by this.
      means: MSE, MAD and those of the foreground are multiplied by this.
      foreground_over_region: the foreground's MSE and MAD divide by all pixels of the region, not
        by those of them that count, where the true alpha is above 0.
      gradient: how Grad is measured.
      connectivity: how Conn is measured.
      average: over "images", or over "clips" (each the mean of its frames, however many).
    """

    name: str
    region: str
    override: bool = False
    sum_whole: bool = False
    quantise: bool = False
    needs_trimap: bool = False
    band: bool = False
    crop: int = 1
    scale: float = 1000.0
    means: float = 1.0
    foreground_over_region: bool = False
    gradient: Gradient = Gradient()
    connectivity: Connectivity = Connectivity()
    average: str = "images"


_GFM_GRADIENT = Gradient(kernel="gfm", stretch=False, scale=10.0)
_GFM_CONNECTIVITY = Connectivity(thresholds="double")
_GFM = Protocol("gfm", "whole", gradient=_GFM_GRADIENT, connectivity=_GFM_CONNECTIVITY)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # The evaluation code published with Deep Image Matting (Xu et al., CVPR 2017).
        Protocol("dim", "unknown", quantise=True, connectivity=Connectivity(ties="columns")),
        # The evaluation code published with GFM (Li et al., IJCV 2022), and its SAD-TRAN, -FG, -BG.
        # A threshold that nothing passes counts; `legacy-gfm` leaves it out, as the code does.
        _GFM,
        dataclasses.replace(
            _GFM,
            name="gfm-transition",
            region="unknown",
            override=True,
            sum_whole=True,
            needs_trimap=True,
        ),
        dataclasses.replace(_GFM, name="gfm-foreground", region="foreground", needs_trimap=True),
        dataclasses.replace(_GFM, name="gfm-background", region="background", needs_trimap=True),
        # MODNet (Ke et al., AAAI 2022): MSE and MAD of whole mattes as the network gives them. It
        # has no Grad and no Conn; those here are DIM's, of the whole matte.
        Protocol("modnet", "whole"),
        # The evaluation code published with PP-Matting (Chen et al., 2022): the trimap, where there
        # is one, overrules the prediction first.
        Protocol("ppmatting", "unknown", override=True, quantise=True),
        # The same without the trimap, as PP-Matting's own numbers are made.
        Protocol("ppmatting-whole", "whole", quantise=True),
        # The evaluation code and tables of Background Matting V2 (Lin et al., CVPR 2021).
        Protocol(
            "bgmv2",
            "unknown",
            quantise=True,
            band=True,
            crop=4,
            means=1000.0,
            foreground_over_region=True,
            gradient=Gradient(scale=1.0),
            connectivity=Connectivity(ties="columns", scale=1.0),
        ),
        # The evaluation code of Robust Video Matting (Lin et al., WACV 2022), for 512 x 288.
        Protocol("rvm", "whole", quantise=True, means=1000.0, average="clips"),
        # The Python evaluation code published with GCA (Li and Lu, AAAI 2020) and copied by many:
        # Grad is not stretched, and in Conn the background may be the largest component.
        Protocol(
            "legacy-gca",
            "unknown",
            quantise=True,
            gradient=Gradient(stretch=False),
            connectivity=Connectivity(thresholds="double", largest="any"),
        ),
        # GFM's evaluation code as it was released.
        dataclasses.replace(
            _GFM,
            name="legacy-gfm",
            connectivity=dataclasses.replace(_GFM_CONNECTIVITY, empty="skipped"),
        ),
    )
}

_MEANS = ("mse", "mad", "foreground_mse", "foreground_mad")


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
    return record.region if trimap or record.band else "whole"


def label(metric: str, protocol: str | Protocol = "dim", trimap: bool = True) -> str:
    """How a table calls a number: "SAD[dim, unknown]", without a trimap "SAD[dim, whole]".

    A mean that a protocol's tables show a thousandfold says so: "MSE[rvm, whole] x 1000".

    Args:
      metric: such as "sad", "mse" or "mad", in any case.
      protocol: a name or a record.
      trimap: whether the metric is given a trimap.
    """
    record = get(protocol)
    told = f"{_NAMES.get(metric.lower(), metric.upper())}[{record.name}, {region(record, trimap)}]"
    if metric.lower() in _MEANS and record.means != 1:
        return f"{told} x {record.means:g}"
    return told


_NAMES = {
    "grad": "Grad",
    "conn": "Conn",
    "dtssd": "dtSSD",
    "foreground_sad": "foreground SAD",
    "foreground_mse": "foreground MSE",
    "foreground_mad": "foreground MAD",
}

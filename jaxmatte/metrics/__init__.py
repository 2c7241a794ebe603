"""Metrics of matting, each under a named protocol: `metrics.sad(prediction, truth, trimap)`."""

from typing import TYPE_CHECKING, Any

from jaxmatte.metrics.colours import foreground_mad, foreground_mse, foreground_sad
from jaxmatte.metrics.connectivity import conn
from jaxmatte.metrics.gradient import grad
from jaxmatte.metrics.matting import constant_baseline, mad, mse, sad
from jaxmatte.metrics.measure import METRICS, measure
from jaxmatte.metrics.pair import band
from jaxmatte.metrics.protocols import PROTOCOLS, Protocol, get, label
from jaxmatte.metrics.segmentation import confusion, iou, matte_iou, miou
from jaxmatte.metrics.video import dtssd, dtssd_of_clip

if TYPE_CHECKING:
    from jaxmatte.metrics.device import per_example

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Protocol",
    "band",
    "confusion",
    "conn",
    "constant_baseline",
    "dtssd",
    "dtssd_of_clip",
    "foreground_mad",
    "foreground_mse",
    "foreground_sad",
    "get",
    "grad",
    "iou",
    "label",
    "mad",
    "matte_iou",
    "measure",
    "miou",
    "mse",
    "per_example",
    "sad",
]


def __getattr__(name: str) -> Any:
    # On demand: mattes on file are measured without JAX, whose import takes seconds.
    if name == "per_example":
        from jaxmatte.metrics.device import per_example

        return per_example
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

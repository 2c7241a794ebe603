"""Metrics of matting, each under a named protocol: `metrics.sad(prediction, truth, trimap)`."""

from jaxmatte.metrics.matting import constant_baseline, mad, mse, per_example, sad
from jaxmatte.metrics.protocols import PROTOCOLS, Protocol, get, label

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "constant_baseline",
    "get",
    "label",
    "mad",
    "mse",
    "per_example",
    "sad",
]

"""Pairs whose metrics are known: by the code of DIM (under Octave), GFM, PP-Matting and GCA."""

import json
import pathlib

import cv2
import numpy as np

from jaxmatte.labels import ellipse
from tests.parity.fill import picture

PARITY = pathlib.Path(__file__).parents[1] / "parity"
GFM = json.loads((PARITY / "gfm_metrics.json").read_text())
PPMATTING = json.loads((PARITY / "ppmatting_metrics.json").read_text())
GCA = json.loads((PARITY / "gca_metrics.json").read_text())


def disc():
    """The small deterministic case: prediction, truth and trimap, uint8 `[64, 96]`."""
    y, x = np.mgrid[0:64, 0:96]
    radius = np.hypot(y - 31, x - 47)
    truth = np.clip(np.round(255 * (30 - radius) / 12), 0, 255)
    truth[5:12, 5:15], truth[50:60, 70:90] = 200, 153
    prediction = np.clip(np.round(truth * 0.9 + 20 * np.sin(x / 5) * np.cos(y / 7)), 0, 255)
    prediction[5:12, 5:15], prediction[50:60, 70:90] = 180, 153
    trimap = np.where(radius < 15, 255, np.where(radius > 40, 0, 128))
    trimap[50:60, 70:90] = trimap[5:12, 5:15] = 128
    assert (truth.sum(), prediction.sum(), trimap.sum()) == (515639, 479101, 686407)
    return prediction.astype(np.uint8), truth.astype(np.uint8), trimap.astype(np.uint8)


PREDICTION, TRUTH, TRIMAP = disc()
ALL_UNKNOWN = np.full_like(TRIMAP, 128)
WASHED_OUT = (PREDICTION * 0.6).astype(np.uint8)
# Prediction, trimap, and what DIM's code gives under Octave: SAD, MSE, Grad, Conn.
DIM = {
    "A, all unknown": (PREDICTION, ALL_UNKNOWN, 0.253043, 0.00364368, 0.036799, 0.202337),
    "A, no trimap": (PREDICTION, None, 0.253043, 0.00364368, 0.036799, 0.202337),
    "A, trimap": (PREDICTION, TRIMAP, 0.161380, 0.00328494, 0.025770, 0.106945),
    "B, all zero": (0 * PREDICTION, ALL_UNKNOWN, 2.022114, 0.27031374, 1.716386, 1.997988),
    "C, perfect": (TRUTH, ALL_UNKNOWN, 0.0, 0.0, 0.0, 0.0),
    "D, washed out": (WASHED_OUT, ALL_UNKNOWN, 0.953863, 0.05742896, 0.036084, 1.022044),
}


def gfm_case(number):
    """Prediction and truth float64, trimap uint8, as the reference's rule makes them."""
    expected = GFM["cases"][number]
    shape = (1, *expected["shape"], 1)
    soft = picture(f"gfm/metric{number}/gt", shape)[0, ..., 0].astype(np.float64)
    byte = np.round(255 * np.clip((soft - 0.35) / 0.30, 0, 1)).astype(np.uint8)
    truth = byte / 255.0
    error = picture(f"gfm/metric{number}/err", shape)[0, ..., 0].astype(np.float64)
    prediction = np.clip(truth + 0.5 * (error - 0.5), 0, 1)
    dilated = cv2.dilate((byte != 0).astype(np.uint8), ellipse(3))
    eroded = cv2.erode((byte == 255).astype(np.uint8), ellipse(3))
    trimap = np.where(eroded, 255, np.where(dilated, 128, 0)).astype(np.uint8)
    assert _counts(trimap) == expected["trimap_counts"]
    return prediction, truth, trimap, expected


def ppmatting_case(name):
    """Prediction, truth and trimap, uint8 `[96, 128]`, and the expected values of case a or b."""
    expected = PPMATTING["cases"][name]
    error = _plane(f"ppmatting/metric/err_{name}")
    if name == "a":
        truth = np.round(255 * np.clip(1.6 * _plane("ppmatting/metric/gt_a") - 0.3, 0, 1))
        prediction = np.round(255 * np.clip(truth / 255 + 0.5 * (error - 0.5), 0, 1))
        trimap = np.where(truth <= 25, 0, np.where(truth >= 230, 255, 128))
    else:
        y, x = np.mgrid[:96, :128]
        inside = 34 - np.hypot(y - 47.5, x - 63.5)
        truth = np.round(255 * np.clip(inside / 9, 0, 1))
        prediction = np.round(255 * np.clip((inside + 6 * (error - 0.5)) / 11, 0, 1))
        prediction[6:18, 6:20] = 200
        element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))
        eroded, dilated = cv2.erode(truth, element), cv2.dilate(truth, element)
        trimap = np.where(eroded > 254.5, 255, np.where(dilated < 0.5, 0, 128))
    assert _counts(trimap) == expected["trimap_counts"]
    assert (prediction.sum(), truth.sum()) == (expected["pred_sum"], expected["gt_sum"])
    return *(plane.astype(np.uint8) for plane in (prediction, truth, trimap)), expected


def gca_case():
    """Prediction, overruled by its trimap, truth and trimap, uint8 `[96, 128]`."""
    truth = (np.clip(2 * _plane("gca/metric/alpha") - 0.5, 0, 1) * 255).astype(np.uint8)
    error = (_plane("gca/metric/pred") * 255).astype(np.uint8)
    prediction = (0.8 * truth + 0.2 * error).astype(np.uint8)
    soft = ((truth > 0) & (truth < 255)).astype(np.uint8)
    trimap = np.where(cv2.dilate(soft, np.ones((5, 5), np.uint8)), 128, truth)
    prediction = np.where(trimap == 128, prediction, trimap)
    assert (trimap == 128).sum() == GCA["unknown_pixels"]
    return prediction, truth, trimap


def _plane(name):
    return picture(name, (1, 96, 128, 1))[0, ..., 0].astype(np.float64)


def _counts(trimap):
    return {str(value): int((trimap == value).sum()) for value in (0, 128, 255)}

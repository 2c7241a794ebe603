"""Protocols: the names that tables print, and what each record says."""

import dataclasses

import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError


def test_labels_carry_protocol_and_region():
    assert metrics.label("SAD", "dim") == "SAD[dim, unknown]"
    assert metrics.label("sad", "dim", trimap=False) == "SAD[dim, whole]"
    assert metrics.label("mad", "gfm") == "MAD[gfm, whole]"
    assert metrics.label("sad", metrics.get("gfm-transition")) == "SAD[gfm-transition, unknown]"
    assert metrics.label("grad", "bgmv2", trimap=False) == "Grad[bgmv2, unknown]"
    assert metrics.label("Conn", "gfm-background") == "Conn[gfm-background, background]"
    assert metrics.label("dtssd", "rvm") == "dtSSD[rvm, whole]"


def test_labels_tell_a_thousandfold_mean():
    assert metrics.label("mse", "rvm") == "MSE[rvm, whole] x 1000"
    assert metrics.label("mad", "bgmv2") == "MAD[bgmv2, unknown] x 1000"
    assert metrics.label("foreground_mse", "rvm") == "foreground MSE[rvm, whole] x 1000"
    assert metrics.label("foreground_sad", "rvm") == "foreground SAD[rvm, whole]"
    assert metrics.label("sad", "rvm") == "SAD[rvm, whole]"
    assert metrics.label("mse", "dim") == "MSE[dim, unknown]"


def test_unknown_names_get_the_nearest():
    with pytest.raises(UserError, match="did you mean 'dim'"):
        metrics.get("dmi")
    with pytest.raises(UserError, match="did you mean 'gfm-foreground'"):
        metrics.label("sad", "gfm-foregruond")
    with pytest.raises(UserError, match="needs a trimap"):
        metrics.label("sad", "gfm-background", trimap=False)


def test_records_are_frozen_and_named_by_themselves():
    for name, record in metrics.PROTOCOLS.items():
        assert record.name == name
        assert metrics.get(record) is record
        for part in (record, record.gradient, record.connectivity):
            with pytest.raises(dataclasses.FrozenInstanceError):
                part.scale = 1


def test_a_record_of_ones_own():
    """Any field can be another; the number's name says which record it was."""
    own = dataclasses.replace(metrics.get("dim"), name="dim, in pixels", scale=1.0)
    truth = np.zeros((3, 3), np.uint8)
    assert metrics.sad(truth + np.uint8(255), truth, protocol=own) == 9
    assert metrics.label("sad", own) == "SAD[dim, in pixels, unknown]"

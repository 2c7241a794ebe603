"""Protocols: the names that tables print."""

import dataclasses

import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError


def test_labels_carry_protocol_and_region():
    assert metrics.label("SAD", "dim") == "SAD[dim, unknown]"
    assert metrics.label("sad", "dim", trimap=False) == "SAD[dim, whole]"
    assert metrics.label("mad", "gfm") == "MAD[gfm, whole]"
    assert metrics.label("sad", metrics.get("gfm-transition")) == "SAD[gfm-transition, unknown]"


def test_unknown_names_get_the_nearest():
    with pytest.raises(UserError, match="did you mean 'dim'"):
        metrics.get("dmi")
    with pytest.raises(UserError, match="did you mean 'gfm-foreground'"):
        metrics.label("sad", "gfm-foregruond")
    with pytest.raises(UserError, match="needs a trimap"):
        metrics.label("sad", "gfm-background", trimap=False)


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        metrics.get("dim").region = "whole"

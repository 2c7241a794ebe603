"""Stores made by the tests, of rows in memory."""

import errno

import numpy as np
import pytest

from jaxmatte.data import prepare, regions, store
from jaxmatte.data.precompute import Settings
from jaxmatte.data.rows import Row
from tests.data import folders

SHARD = 30_000  # bytes; the rows below fill a shard by threes or so


class Rows:
    """A source of rows in memory, of unequal sizes; every other row lacks a trimap."""

    has_trimaps = False

    def __init__(self, count=12, seed=0):
        self.count, self.seed = count, seed

    def __len__(self):
        return self.count

    def name(self, index):
        return f"ruß {self.seed}-{index}"

    def size(self, index):
        return 60 + index, 81

    @property
    def fingerprint(self):
        return f"rows:{self.count}:{self.seed}"

    def __getitem__(self, index):
        height, width = self.size(index)
        rng = np.random.default_rng((self.seed, index))
        planes = {"alpha": folders.matte(height, width)}
        for number, field in enumerate(("image", "foreground", "background")):
            planes[field] = folders.picture((self.seed, index, number), height, width)
        planes["label"] = rng.integers(0, 19, (height, width), dtype=np.uint8)
        if index % 2:
            planes["trimap"] = regions.trimap(planes["alpha"], 7)
        return Row.of(index, self.name(index), **planes)


def prepared(out, source=None, shard=SHARD, **settings):
    source, settings = source or Rows(), Settings(**settings)
    plan = prepare.make_plan(source, "rows", "train", settings, shard)
    assert prepare.prepare(source, out, plan, settings) == []
    return store.Store(out)


class Stopping(Rows):
    """Rows of which some cannot be read."""

    def __init__(self, bad=(), error=None, **options):
        super().__init__(**options)
        self.bad, self.error = bad, error or OSError(errno.EIO, "Input/output error")

    def __getitem__(self, index):
        if index in self.bad:
            raise self.error
        return super().__getitem__(index)


def go(source, out, workers=1, skip_broken=False, shard=SHARD, **settings):
    settings = Settings(**settings)
    plan = prepare.make_plan(source, "rows", "train", settings, shard)
    return prepare.prepare(source, out, plan, settings, workers, skip_broken)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def interrupted(out, after=7):
    """Begins a store and stops in its row `after`."""
    with pytest.raises(KeyboardInterrupt):
        go(Stopping((after,), KeyboardInterrupt()), out)

"""The studio as a data set: splits that never overlap and a random-access source."""

from jaxmatte.data.rows import Row
from jaxmatte.data.studio.scene import MODES, checked_size, render
from jaxmatte.errors import UserError

# One index space for everyone: a scene belongs to one split whatever the seed.
SPLITS = {
    "train": range(0, 1_000_000_000),
    "validation": range(1_000_000_000, 1_100_000_000),
    "test": range(1_100_000_000, 1_200_000_000),
}


def split_range(split: str) -> range:
    """The scene indices of a split."""
    if split not in SPLITS:
        raise UserError(f"studio: split {split!r} is unknown; use one of {', '.join(SPLITS)}")
    return SPLITS[split]


class StudioSource:
    """`count` scenes of a split, rendered when asked for; picklable, for grain.

    Args:
        split: "train", "validation" or "test".
        count: how many scenes; they are the first of the split.
        size: side, or (height, width).
        mode: "natural", "composite", or "mixed": natural at even positions, composite at odd.
        seed: which series of scenes.
    """

    def __init__(
        self,
        split: str,
        count: int,
        size: int | tuple[int, int] = 512,
        mode: str = "natural",
        seed: int = 0,
    ) -> None:
        indices = split_range(split)
        if not 1 <= count <= len(indices):
            raise UserError(f"studio: count {count} of {split} must be 1 to {len(indices)}")
        if mode not in (*MODES, "mixed"):
            raise UserError(f"studio: mode {mode!r} is unknown; use {', '.join(MODES)} or mixed")
        if seed < 0:
            raise UserError(f"studio: seed {seed} must not be negative")
        self.split, self.count, self.mode, self.seed = split, count, mode, seed
        self._shape = checked_size(size)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Row:
        """`image`, `foreground`, `background` and `alpha` of a scene, in memory."""
        row = int(i)
        if not -self.count <= row < self.count:
            raise IndexError(f"scene {row} of {self.count}")
        row %= self.count
        scene = render(self.seed, split_range(self.split)[row], self._shape, self._mode_of(row))
        return Row.of(row, self.name(row), **vars(scene))

    def _mode_of(self, row: int) -> str:
        return MODES[row % 2] if self.mode == "mixed" else self.mode

    has_trimaps = False

    def name(self, row: int) -> str:
        """What a person calls the row; the number is the scene's in the space of all splits."""
        return f"{self._mode_of(row)} scene {split_range(self.split)[row]}"

    def size(self, row: int) -> tuple[int, int]:
        """Height and width of a row."""
        del row  # all alike
        return self._shape

    @property
    def fingerprint(self) -> str:
        """What the rows depend on."""
        return repr(self)

    def __repr__(self) -> str:
        return (
            f"StudioSource(split={self.split!r}, count={self.count}, size={self._shape}, "
            f"mode={self.mode!r}, seed={self.seed})"
        )

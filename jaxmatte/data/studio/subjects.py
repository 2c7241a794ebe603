"""Which subject a scene shows."""

from collections.abc import Callable

import numpy as np

from jaxmatte.data.studio import birds, creatures, people, plants, things
from jaxmatte.data.studio.canvas import Canvas

Subject = Callable[[Canvas, np.random.Generator], None]

# How often each appears, in hundredths.
SUBJECTS: tuple[tuple[Subject, int], ...] = (
    (creatures.beast, 34),
    (people.bust, 18),
    (creatures.plush, 10),
    (birds.bird, 8),
    (things.basket, 6),
    (plants.plant, 6),
    (things.feather, 4),
    (plants.seed_head, 4),
    (plants.bouquet, 4),
    (things.wreath, 3),
    (things.jellyfish, 2),
    (things.wheel, 1),
)


def draw(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a subject by chance."""
    weights = np.array([weight for _, weight in SUBJECTS]) / 100
    choice = int(np.searchsorted(np.cumsum(weights), rng.random(), side="right"))
    SUBJECTS[min(choice, len(SUBJECTS) - 1)][0](canvas, rng)

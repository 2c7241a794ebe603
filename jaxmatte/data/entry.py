"""What the catalog knows of a set: its splits, terms and checks."""

import dataclasses
from collections.abc import Mapping

from jaxmatte.data.frozen import Composites
from jaxmatte.data.layouts import ALPHA, CUTOUT, LABEL, LABEL_IDS, TRIMAP, Part, Split

ALL = "all"  # the split of a plain folder

Layout = Split | Composites


@dataclasses.dataclass(frozen=True)
class Entry:
    """A set.

    Attributes:
        name: What commands call it.
        title: What its authors call it.
        about: One line.
        folders: What its folder is called; the root itself will do.
        splits: By name; the first is the default.
        licence: What is known of its terms.
        get: How a person gets it.
        page: Its public page.
        notes: What a user should know of its layout.
        classes: Of its label maps; None where it has none or any number.
        plain: A person's own folder: any folder below the root is a split.
        checks: Which checks of `python -m jaxmatte.data check` apply beside the common ones.
    """

    name: str
    title: str
    about: str
    folders: tuple[str, ...]
    splits: Mapping[str, Layout]
    licence: str
    get: str
    page: str = ""
    notes: str = ""
    classes: int | None = None
    plain: bool = False

    @property
    def checks(self) -> tuple[str, ...]:
        """What is checked of a copy beside counts, decoding, colours and duplicates."""
        layouts = self.splits.values()
        kinds = {part.holds for layout in layouts for part in parts_of(layout)}
        applies = {
            "pairs and sizes": any(len(parts_of(layout)) > 1 for layout in layouts),
            "alphas": bool(kinds & {ALPHA, CUTOUT}),
            "trimaps": TRIMAP in kinds,
            "class numbers": bool(kinds & {LABEL, LABEL_IDS}),
            "frozen lists": any(isinstance(layout, Composites) for layout in layouts),
        }
        return tuple(check for check, does in applies.items() if does)


def parts_of(layout: Layout) -> tuple[Part, ...]:
    """The parts of a split, also those of a composite's foregrounds."""
    if isinstance(layout, Composites):
        return layout.foregrounds.parts + layout.parts
    return layout.parts

"""From the configuration to sources: the studio, sets of the catalog, folders, stores, TFDS."""

import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxmatte.data import around, catalog, guides, sources, store, studio
from jaxmatte.data.sources import Source
from jaxmatte.errors import BrokenData, UserError

COMPOSITIONS = ("none", "blend", "rssn")
KINDS = ("studio", "folder", "set", "store", "tfds")
UNLABELLED = "unlabelled"  # the route whose rows need an image and nothing else

_LOOKS = 16  # rows looked at to learn which fields rows have, where the first ones are broken


def training(config: ConfigDict, seed: int) -> tuple[Source, Source | None]:
    """The foregrounds that the group `data` names, and the backgrounds where it names some."""
    _require_one_of(config.source, KINDS, "data.source")
    composes = _composes(config)
    if config.foreground == "premultiplied" and config.route != "gfm":
        raise UserError(
            "data.foreground=premultiplied is GFM's released option; composing by another route "
            "would multiply by alpha twice"
        )
    if config.source == "studio":
        # Every scene brings its own background, and lends it to the others.
        return _studio(config, "train", config.studio.train, seed), None
    root = pathlib.Path(config.root)
    source = _foregrounds(config, config.source, root, "data", config.broken == "skip")
    _require_trainable(config, source)
    if config.backgrounds:
        behind = _below(root, config.backgrounds, "data.backgrounds")
        backgrounds: Source | None = _backgrounds(behind)
    elif composes:
        instead = ", or set data.compose.route=none" if "compose" in config else ""
        raise UserError(
            "config.data.backgrounds is empty; name a folder or a prepared store of pictures below "
            f"config.data.root{instead}"
        )
    else:
        backgrounds = None
    return _with_denoised(config, root, source, backgrounds)


def evaluation(
    config: ConfigDict, data: ConfigDict, seed: int, given: Sequence[str] = ()
) -> tuple[Source, str]:
    """The set that the group `evaluation` names, and what to call it.

    Args:
        config: The group `evaluation`.
        data: The group `data`.
        seed: Of the built-in scenes.
        given: What a network is given beside the picture: `trimap`, `plate`. What is not on file
            is made: a plate where there is a background, a trimap of the built-in scenes.
    """
    _require_one_of(data.source, KINDS, "data.source")
    if data.source == "studio":
        _require_one_of(config.split, ("validation", "test"), "evaluation.split")
        name = f"studio {config.split}"
        return _studio(data, config.split, data.studio[config.split], seed, given), name
    source = _foregrounds(config, data.source, pathlib.Path(data.root), "evaluation")
    truth = "label" if config.kind == "classes" and "label" in _fields(source) else "alpha"
    _require_fields(source, ("image", truth), "evaluation")
    names = {
        "folder": config.images,
        "store": config.store,
        "set": f"{config.set} {config.split}",
        "tfds": f"{config.tfds} {config.split}",
    }
    return _guided(source, given), names[data.source]


def _guided(source: Source, given: Sequence[str], trimap: ConfigDict | None = None) -> Source:
    """The rows with plates and, where a maker is named, trimaps, if they are asked for."""
    maker = trimap if "trimap" in given and not source.has_trimaps else None
    plates = "plate" in given and "plate" not in (fields := _fields(source))
    if plates and "background" not in fields:
        raise UserError(
            f"{source.name(0)} and the other rows have no plate, and no background of which one "
            "could be made: name the folder in evaluation.plates"
        )
    return guides.Guided(source, maker, plates) if maker is not None or plates else source


def _require_one_of(value: str, known: tuple[str, ...], field: str) -> None:
    if value not in known:
        raise UserError(f"{field}={value!r}; there are: {', '.join(known)}")


def _foregrounds(
    config: ConfigDict, kind: str, root: pathlib.Path, group: str, skip_broken: bool = False
) -> Source:
    """The rows that a group of the configuration names; with alphas, if its route needs them."""
    if kind == "store":
        return store.Store(_below(root, config.store, f"{group}.store"))
    if kind == "set":
        _require_name(config.set, f"{group}.set", f"there are: {', '.join(catalog.names())}")
        return catalog.open(config.set, _directory(root, config.set), config.split)
    if kind == "tfds":
        from jaxmatte.data.tfds_source import TfdsSource  # it takes a second to import

        _require_name(config.tfds, f"{group}.tfds", "name a prepared builder")
        return TfdsSource(config.tfds, _directory(root, config.tfds), config.split)
    if config.get("route") == UNLABELLED and not config.cutouts:
        images = _below(root, config.images, f"{group}.images")
        return sources.PictureFolder(images, f"{group}.images", "image", recursive=True)
    if config.get("cutouts"):
        cutouts = _below(root, config.cutouts, f"{group}.cutouts")
        return sources.CutoutFolder(cutouts, skip_broken)
    foregrounds = config.get("foregrounds")
    return sources.PairFolder(
        _below(root, config.images, f"{group}.images"),
        _below(root, config.alphas, f"{group}.alphas"),
        root / foregrounds if foregrounds else None,
        root / config.trimaps if config.trimaps else None,
        _below(root, config.plates, f"{group}.plates") if config.get("plates") else None,
        fields=group,
        skip_broken=skip_broken,
    )


def _backgrounds(path: pathlib.Path) -> Source:
    if not store.is_store(path):
        return sources.PictureFolder(path, "data.backgrounds")
    opened = store.Store(path)
    _require_fields(opened, ("background",), "data.backgrounds")
    return opened


def _composes(config: ConfigDict) -> bool:
    """Whether the route composes any example: some may be told not to."""
    if "compose" not in config:
        return config.route != UNLABELLED
    _require_one_of(config.compose.route, COMPOSITIONS, "data.compose.route")
    return config.compose.route != "none"


def _require_trainable(config: ConfigDict, source: Source) -> None:
    """Compares what the rows have with what examples are made of."""
    if config.route == UNLABELLED:
        _require_fields(source, ("image",), "data")
        return
    fields = _fields(source)
    if config.route == "bisenetv2" and "label" in fields and "alpha" not in fields:
        _require_fields(source, ("image",), "data")
        return
    _require_fields(source, ("alpha",), "data")
    composes_all = "compose" not in config or (_composes(config) and config.compose.share >= 1)
    if "image" not in fields and not composes_all:
        raise UserError(
            f"{source.name(0)} and the other rows are cut-outs without a background of their own: "
            "set data.compose.route, and data.compose.share=1"
        )


def _require_fields(source: Source, wanted: tuple[str, ...], group: str) -> None:
    fields = _fields(source)
    if not fields.issuperset(wanted):
        raise UserError(
            f"config.{group} needs rows with {' and '.join(wanted)}; {source.name(0)} has: "
            f"{', '.join(sorted(fields))}"
        )


def _fields(source: Source) -> set[str]:
    """What the rows have, by the first one that opens."""
    if not len(source):
        raise UserError("the data set has no rows; is the split empty?")
    trouble = ""
    for index in range(min(len(source), _LOOKS)):
        try:
            return set(source[index].planes)
        except BrokenData as error:
            trouble = trouble or str(error)
    raise UserError(f"the first {min(len(source), _LOOKS)} rows are broken; one is: {trouble}")


def _with_denoised(
    config: ConfigDict, root: pathlib.Path, source: Source, backgrounds: Source | None
) -> tuple[Source, Source | None]:
    """RSSN's denoised pictures, where the configuration names folders or stores have them."""
    if backgrounds is None or "compose" not in config or config.compose.route != "rssn":
        return source, backgrounds
    if not config.compose.denoise:
        return source, backgrounds
    _require_denoised_alike(config, source, backgrounds)
    pair = [source, backgrounds]
    for number, field in enumerate(("foreground", "background")):
        option = f"compose.denoised_{field}s"
        if folder := config.compose[f"denoised_{field}s"]:
            pair[number] = around.Denoised(pair[number], root / folder, field, f"data.{option}")
    return pair[0], pair[1]


def _require_denoised_alike(config: ConfigDict, *rows: Source) -> None:
    """Compares how the stores' pictures were denoised with what the configuration says."""
    wanted = dict(config.compose.denoiser)
    for source in rows:
        found = getattr(source, "denoiser", None)
        if found and found != wanted:
            raise UserError(
                f"the store {source} was denoised with {found}, data.compose.denoiser says "
                f"{wanted}; prepare it anew, or set the field to what was done"
            )


def _studio(
    config: ConfigDict, split: str, count: int, seed: int, given: Sequence[str] = ()
) -> Any:
    options = config.studio
    drawn = studio.StudioSource(split, count, options.scene, options.mode, seed)
    scenes = _guided(drawn, given, config.get("trimap"))
    return around.Cached(scenes) if options.cache else scenes


def _require_name(name: str, field: str, advice: str) -> None:
    if not name:
        raise UserError(f"config.{field} is empty; {advice}")


def _directory(root: pathlib.Path, name: str) -> pathlib.Path:
    if root == pathlib.Path():
        raise UserError(f"give --config.data.root=DIR, the directory that holds {name}")
    if not root.is_dir():
        raise UserError(f"config.data.root={str(root)!r} is not a directory")
    return root


def _below(root: pathlib.Path, name: str, field: str) -> pathlib.Path:
    _directory(root, name or field)
    _require_name(name, field, "name a folder below config.data.root")
    return root / name

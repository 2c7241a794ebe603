"""From the configuration to sources: the studio, sets of the catalog, folders, stores, TFDS."""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from jaxmatte.data import catalog, sources, store, studio
from jaxmatte.data.sources import Source
from jaxmatte.errors import UserError

COMPOSITIONS = ("none", "blend", "rssn")
KINDS = ("studio", "folder", "set", "store", "tfds")


def training(config: ConfigDict, seed: int) -> tuple[Source, Source | None]:
    """The foregrounds that the group `data` names, and the backgrounds where it names some."""
    _require_kind(config.source)
    composes = _needs_backgrounds(config)
    if config.source == "studio":
        # Every scene brings its own background, and lends it to the others.
        return _studio(config, "train", config.studio.train, seed), None
    root = pathlib.Path(config.root)
    source = _foregrounds(config, config.source, root, "data")
    if config.backgrounds:
        backgrounds = _backgrounds(_below(root, config.backgrounds, "data.backgrounds"))
    elif composes:
        raise UserError(
            "config.data.backgrounds is empty; name a folder or a prepared store of pictures below "
            "config.data.root"
        )
    else:
        backgrounds = None
    _require_denoised_alike(config, source, backgrounds)
    if config.source == "folder" and config.cutouts and not _composes_all(config):
        raise UserError(
            "data.cutouts have no background of their own: set data.compose.route, and "
            "data.compose.share=1"
        )
    return source, backgrounds


def evaluation(config: ConfigDict, data: ConfigDict, seed: int) -> tuple[Source, str]:
    """The set that the group `evaluation` names, and what to call it."""
    _require_kind(data.source)
    if data.source == "studio":
        if config.split not in ("validation", "test"):
            raise UserError(f"evaluation.split={config.split!r}; there are: validation, test")
        name = f"studio {config.split}"
        return _studio(data, config.split, data.studio[config.split], seed), name
    root = pathlib.Path(data.root)
    source = _foregrounds(config, data.source, root, "evaluation")
    return source, config.images or config.store or config.tfds or f"{config.set} {config.split}"


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UserError(f"data.source={kind!r}; there are: {', '.join(KINDS)}")


def _foregrounds(config: ConfigDict, kind: str, root: pathlib.Path, group: str) -> Source:
    """The rows with alphas that a group of the configuration names."""
    if kind == "store":
        return store.Store(_below(root, config.store, f"{group}.store"))
    if kind == "set":
        _require_name(config.set, f"{group}.set", f"there are: {', '.join(catalog.names())}")
        return catalog.open(config.set, _directory(root, config.set), config.split)
    if kind == "tfds":
        from jaxmatte.data.tfds_source import TfdsSource  # it takes a second to import

        _require_name(config.tfds, f"{group}.tfds", "name a prepared builder")
        return TfdsSource(config.tfds, _directory(root, config.tfds), config.split)
    if config.get("cutouts"):
        return sources.CutoutFolder(_below(root, config.cutouts, f"{group}.cutouts"))
    foregrounds = config.get("foregrounds")
    return sources.PairFolder(
        _below(root, config.images, f"{group}.images"),
        _below(root, config.alphas, f"{group}.alphas"),
        root / foregrounds if foregrounds else None,
        root / config.trimaps if config.trimaps else None,
        fields=group,
    )


def _backgrounds(path: pathlib.Path) -> Source:
    return (
        store.Store(path)
        if store.is_store(path)
        else sources.PictureFolder(path, "data.backgrounds")
    )


def _needs_backgrounds(config: ConfigDict) -> bool:
    """Whether the route composes: some may be told not to."""
    if "compose" not in config:
        return True
    if config.compose.route not in COMPOSITIONS:
        raise UserError(
            f"data.compose.route={config.compose.route!r}; there are: {', '.join(COMPOSITIONS)}"
        )
    return config.compose.route != "none"


def _composes_all(config: ConfigDict) -> bool:
    return "compose" not in config or (config.compose.route != "none" and config.compose.share >= 1)


def _require_denoised_alike(config: ConfigDict, *rows: Source | None) -> None:
    """Compares how the stores' pictures were denoised with what the configuration says."""
    if "compose" not in config or config.compose.route != "rssn" or not config.compose.denoise:
        return
    wanted = dict(config.compose.denoiser)
    for source in rows:
        found = getattr(source, "denoiser", None)
        if found and found != wanted:
            raise UserError(
                f"the store {source} was denoised with {found}, data.compose.denoiser says "
                f"{wanted}; prepare it anew, or set the field to what was done"
            )


def _studio(config: ConfigDict, split: str, count: int, seed: int) -> Any:
    scenes = studio.StudioSource(split, count, config.studio.scene, config.studio.mode, seed)
    return sources.Cached(scenes) if config.studio.cache else scenes


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

"""`eyespot inspect --layers`: the places of a network that a saliency method may be asked about."""

from __future__ import annotations

from pathlib import Path

from eyespot.cli.errors import CommandError, telling
from eyespot.cli.output import print_json, print_table, shape_text
from eyespot.v1.manifest import MANIFEST_FILE, ORIGINAL_FILE, ManifestError, read_manifest


def print_layers(folder: Path, *, as_json: bool) -> None:
    """Print every layer with spatial maps, and which one methods take of themselves.

    Args:
        folder: of one version of a model.
        as_json: for machines.
    """
    from eyespot.exporter import ExportError
    from eyespot.exporter.original_file import open_original
    from eyespot.saliency import LayerError

    if not (folder / ORIGINAL_FILE).is_file():
        raise CommandError(f"{folder} has no {ORIGINAL_FILE}: there is no graph to name layers of")
    with telling(ExportError, ManifestError):
        manifest = read_manifest(folder / MANIFEST_FILE)
        if manifest.gradient_node is None:
            raise CommandError(f"{folder / MANIFEST_FILE} names no gradient_node")
        original = open_original(folder / ORIGINAL_FILE, gradient_node=manifest.gradient_node)
    try:
        default = original.find_layer("")
    except LayerError as error:
        raise CommandError(str(error)) from error
    layers = original.layers()
    if as_json:
        print_json(
            [
                {"name": each.name, "shape": each.shape, "is_default": each.name == default}
                for each in layers
            ]
        )
        return
    rows = [
        (
            each.name,
            shape_text(["?" if size is None else size for size in each.shape]),
            "the default" if each.name == default else "",
        )
        for each in layers
    ]
    print_table(("LAYER", "CHANNELS, HEIGHT, WIDTH", ""), rows)

"""How the layers of a network are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eyespot.cli.output import print_table, shape_text

if TYPE_CHECKING:
    from eyespot.exporter import Layer, LayerTable, SeenField


def print_layers(table: LayerTable, *, every: bool = False) -> None:
    """Print a table by layer, totals and notes.

    Args:
        table: Of a network.
        every: Activations, and whatever else leaves shape and field as they are, too.
    """
    shown = [
        layer
        for layer, before in zip(table.layers, [None, *table.layers], strict=False)
        if every or _teaches(layer, before)
    ]
    print(f"input {', '.join(map(shape_text, table.input_shapes))}")
    print_table(
        ("LAYER", "KIND", "OUTPUT", "PARAMETERS", "MACS", "FIELD", "STRIDE", "OFFSET",
         "OUTPUT SIZE"),
        [
            (
                layer.scope or layer.node,
                layer.kind,
                shape_text(layer.output_shape[1:]),
                layer.parameters,
                layer.macs,
                _field_text(layer),
                _each([field.stride for field in layer.fields]),
                _each([field.offset for field in layer.fields]),
                layer.output_size,
            )
            for layer in shown
        ],
    )  # fmt: skip
    hidden = len(table.layers) - len(shown)
    more = f"; {hidden} more operators by --operators" if hidden else ""
    print(f"{len(shown)} layers, {table.parameters:,} parameters, {table.macs:,} MACs{more}")
    _print_last_map(table)
    for note in table.notes:
        print(f"note: {note}")


def print_maps(table: LayerTable) -> None:
    """List the maps of a network, the default of saliency marked."""
    print_table(
        ("NODE", "LAYER", "KIND", "SHAPE", "FIELD", ""),
        [
            (
                layer.node,
                layer.scope,
                layer.kind,
                shape_text(layer.output_shape[1:]),
                _field_text(layer),
                "default" if layer.node == table.default_map else "",
            )
            for layer in table.maps
        ],
    )


def table_json(table: LayerTable, *, only_maps: bool = False) -> object:
    """Give a table as JSON will hold it; or its maps alone."""
    if only_maps:
        return [
            {**vars(layer), "is_default": layer.node == table.default_map} for layer in table.maps
        ]
    last, lost = table.last_map, table.undefined_from
    return {
        **vars(table),
        "last_map": None if last is None else last.node,
        "receptive_field": None if last is None else [field.size for field in last.fields],
        "undefined_from": None if lost is None else {"node": lost.node, "operator": lost.undefined},
    }


def _print_last_map(table: LayerTable) -> None:
    last, lost = table.last_map, table.undefined_from
    if last is not None:
        print(
            f"last spatial map: {last.node} {shape_text(last.output_shape[1:])}, receptive field "
            f"{_sizes(last.fields)}, stride {_each([field.stride for field in last.fields])}"
        )
    if lost is not None:
        print(
            f"note: no rule for the operator {lost.undefined!r}: receptive fields are undefined "
            f"from {lost.node} on"
        )


def _teaches(layer: Layer, before: Layer | None) -> bool:
    """Tell whether a layer computes, joins paths, or changes shape or field."""
    if layer.parameters or layer.macs or layer.output_size or layer.kind in ("add", "cat"):
        return True
    return before is not None and (
        layer.output_shape != before.output_shape or layer.fields != before.fields
    )


def _field_text(layer: Layer) -> str:
    if layer.undefined:
        return "undefined"
    return _each([field.size for field in layer.fields]) if layer.fields else "all"


def _sizes(fields: Sequence[SeenField]) -> str:
    return "x".join(f"{field.size:g}" for field in fields)


def _each(numbers: Sequence[int | float]) -> str:
    """Write one number for all axes if they agree."""
    texts = [f"{number:g}" for number in numbers]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)

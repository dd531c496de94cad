"""Networks that label every pixel: any height and width in, the same out, in one program."""

import pytest
import torch
from torch.export import Dim

from eyespot.zoo import create_model, list_models, model_entry

DENSE = [
    name
    for name in list_models()
    if model_entry(name).task in {"segmentation", "flow"} and model_entry(name).dynamic_axes
]
# Capturing takes seconds: one network of each way to crop is enough for the normal run.
QUICK = {"fcn8s", "dilated_frontend_vgg16"}


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


def test_the_networks_are_those_of_the_papers():
    assert {
        "fcn32s", "fcn16s", "fcn8s", "fcn_resnet50",
        "deeplab_v1_vgg16", "deeplab_v3_resnet50",
        "dilated_context_basic", "dilated_context_large", "dilated_frontend_vgg16",
        "fc_densenet56", "fc_densenet67", "fc_densenet103",
        "densenet_flow",
    } <= set(DENSE)  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
def test_height_and_width_are_the_inputs(name):
    entry = model_entry(name)
    network, smallest = on_meta(name), entry.min_input_size
    for more_rows, more_columns in [(0, 0), (1, 30), (7, 4)]:
        size = (smallest + more_rows, smallest + more_columns)
        images = torch.empty(2, entry.input_size[0], *size, device="meta")
        assert tuple(network(images).shape) == (2, entry.num_classes, *size)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.giant) for n in DENSE]
)
def test_a_captured_program_holds_for_any_size(name):
    entry = model_entry(name)
    smallest = entry.min_input_size
    images = torch.empty(2, entry.input_size[0], smallest + 10, smallest + 17, device="meta")
    sizes = {axis: Dim(size, min=smallest) for axis, size in entry.dynamic_axes.items()}
    program = torch.export.export(
        on_meta(name), (images,), dynamic_shapes=({0: Dim("batch"), **sizes},)
    )
    assert program._guards_code == []
    (output,) = program.graph.output_node().args[0]
    (given,) = (node for node in program.graph.nodes if node.name == "x")
    height, width = given.meta["val"].shape[2:]
    assert output.meta["val"].shape[2:] == (height, width)
    assert {str(height), str(width)}.isdisjoint({str(smallest + 10), str(smallest + 17)})

"""Each operator's rule, on a graph made by hand, against PyTorch's derivative of the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional

from eyespot.exporter.errors import GradientError
from eyespot.exporter.gradient_graph.differentiation import differentiate
from eyespot.exporter.gradient_graph.graph import Graph
from eyespot.exporter.gradient_graph.rules import RULES

FLOAT = TensorProto.FLOAT


def drawn(*shape, seed=3):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def node(operator, *inputs, **attributes):
    return helper.make_node(operator, ["x", *inputs], ["y"], **attributes)


def gradient_of(nodes, x, constants, *, rectifier="derivative", sizes=None):
    """What the backward pass of a graph gives, and its cotangent."""
    shape = ["batch", *(sizes or x.shape[1:])]
    has_gelu = any(each.op_type == "Gelu" for each in nodes)  # there is none before
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "forward",
            [helper.make_tensor_value_info("x", FLOAT, shape)],
            [helper.make_tensor_value_info("y", FLOAT, None)],
            [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20 if has_gelu else 18)],
        ir_version=10,
    )
    y = run(model, {"x": x}, ["y"])[0]
    cotangent = drawn(*y.shape, seed=5)
    graph = Graph(model)
    model.graph.input.append(helper.make_tensor_value_info("g", FLOAT, [None] * y.ndim))
    found = differentiate(
        graph,
        leaf="x",
        output="y",
        cotangent="g",
        rules=RULES,
        rectifier=rectifier,
        wanted=["x"],
    )
    model.graph.output.append(helper.make_tensor_value_info(found["x"], FLOAT, None))
    return run(model, {"x": x, "g": cotangent}, [found["x"]])[0], cotangent


def run(model, feeds, outputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(outputs, feeds)


def check(nodes, function, x, *, sizes=None, **constants):
    found, cotangent = gradient_of(nodes, x, constants, sizes=sizes)
    leaf = torch.from_numpy(x).requires_grad_()
    y = function(leaf, *(torch.from_numpy(np.asarray(each)) for each in constants.values()))
    (expected,) = torch.autograd.grad(y, leaf, torch.from_numpy(cotangent).view_as(y))
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {}),
        (3, {"padding": 1}),
        (3, {"stride": 2, "padding": 1}),  # of 9 places the last is used, of 8 it is not
        (5, {"stride": 3, "padding": 2, "groups": 2}),
        (3, {"dilation": 2, "padding": 1, "groups": 4}),
        (1, {"stride": 2}),
        (2, {"padding": 2}),  # more padding than the kernel turned round can have
    ],
)
@pytest.mark.parametrize("sizes", [None, (4, "height", "width")])
def test_convolutions(kernel, options, sizes):
    groups = options.get("groups", 1)
    weights = drawn(8, 4 // groups, kernel, kernel)
    attributes = {
        "pads": [options.get("padding", 0)] * 4,
        "strides": [options.get("stride", 1)] * 2,
        "dilations": [options.get("dilation", 1)] * 2,
        "group": groups,
    }
    check(
        [node("Conv", "w", **attributes)],
        lambda x, w: functional.conv2d(x, w, **options),
        drawn(2, 4, 9, 8),
        sizes=sizes,
        w=weights,
    )


def test_transposed_convolutions():
    check(
        [node("ConvTranspose", "w", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])],
        lambda x, w: functional.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
        drawn(2, 3, 4, 5),
        w=drawn(3, 2, 3, 3),
    )


def test_batch_norms():
    scale, shift, mean = drawn(3, seed=1), drawn(3, seed=2), drawn(3, seed=4)
    variance = np.array([0.5, 1.0, 2.0], np.float32)
    check(
        [node("BatchNormalization", "s", "b", "m", "v", epsilon=1e-3)],
        lambda x, s, b, m, v: functional.batch_norm(x, m, v, s, b, eps=1e-3),
        drawn(2, 3, 4, 4),
        s=scale,
        b=shift,
        m=mean,
        v=variance,
    )


@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        ({"strides": [2, 2]}, {"stride": 2}),
        ({"strides": [1, 1], "pads": [1, 1, 1, 1]}, {"stride": 1, "padding": 1}),
        ({"strides": [2, 2], "ceil_mode": 1}, {"stride": 2, "ceil_mode": True}),
    ],
)
def test_max_pools_give_to_the_largest(attributes, options):
    check(
        [node("MaxPool", kernel_shape=[3, 3], **attributes)],
        lambda x: functional.max_pool2d(x, 3, **options),
        drawn(2, 3, 8, 6),
    )


@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        ({"strides": [3, 3]}, {"stride": 3}),
        ({"strides": [2, 2], "pads": [1] * 4, "count_include_pad": 1}, {"stride": 2, "padding": 1}),
        (
            {"strides": [1, 1], "pads": [1] * 4},
            {"stride": 1, "padding": 1, "count_include_pad": False},
        ),
    ],
)
def test_average_pools_share_out(attributes, options):
    check(
        [node("AveragePool", kernel_shape=[3, 3], **attributes)],
        lambda x: functional.avg_pool2d(x, 3, **options),
        drawn(2, 3, 8, 7),
    )


@pytest.mark.parametrize(
    ("operator", "function"),
    [
        ("Relu", torch.relu),
        ("LeakyRelu", functional.leaky_relu),
        ("Elu", functional.elu),
        ("Celu", functional.celu),
        ("Selu", functional.selu),
        ("Gelu", functional.gelu),
        ("Mish", functional.mish),
        ("HardSwish", functional.hardswish),
        ("Sigmoid", torch.sigmoid),
        ("Tanh", torch.tanh),
        ("Softplus", functional.softplus),
        ("Erf", torch.erf),
        ("Exp", torch.exp),
        ("Abs", torch.abs),
        ("Neg", torch.neg),
        ("Reciprocal", torch.reciprocal),
        ("Softmax", lambda x: torch.softmax(x, -1)),
        ("LogSoftmax", lambda x: torch.log_softmax(x, -1)),
        ("GlobalAveragePool", lambda x: x.mean((2, 3), keepdim=True)),
        ("Flatten", lambda x: x.flatten(1)),
        ("Identity", torch.clone),
    ],
)
def test_functions_of_each_element(operator, function):
    check([node(operator)], function, 4 * drawn(2, 3, 4, 5))


@pytest.mark.parametrize("operator", ["Sqrt", "Log"])
def test_functions_of_what_is_positive(operator):
    function = {"Sqrt": torch.sqrt, "Log": torch.log}[operator]
    check([node(operator)], function, np.abs(drawn(2, 5)) + 0.5)


def test_hard_sigmoids_and_their_slopes():
    check([node("HardSigmoid", alpha=1 / 6, beta=0.5)], functional.hardsigmoid, 4 * drawn(3, 7))
    slopes = np.array([[[0.1]], [[0.5]]], np.float32)
    check(
        [node("PRelu", "s")],
        lambda x, s: functional.prelu(x, s.flatten()),
        drawn(2, 2, 3, 3),
        s=slopes,
    )


def test_bounds():
    check(
        [node("Clip", "a", "b")],
        lambda x, a, b: functional.hardtanh(x, 0.0, 1.0),
        drawn(3, 9),
        a=np.float32(0),
        b=np.float32(1),
    )


@pytest.mark.parametrize(
    ("operator", "function"),
    [("Add", torch.add), ("Sub", torch.sub), ("Mul", torch.mul), ("Div", torch.div)],
)
def test_arithmetic_with_a_constant_that_is_repeated(operator, function):
    constant = np.abs(drawn(3, 1, 1, seed=9)) + 0.5
    check([node(operator, "c")], function, drawn(2, 3, 4, 4), c=constant)


@pytest.mark.parametrize(
    ("operator", "function"),
    [("Add", torch.add), ("Sub", torch.sub), ("Mul", torch.mul), ("Div", torch.div)],
)
def test_arithmetic_of_two_values_one_of_which_is_repeated(operator, function):
    axes = np.array([2, 3])
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),  # (B, 3, 1, 1)
        helper.make_node(operator, ["x", "m"], ["y"]),
    ]
    check(
        nodes,
        lambda x, axes: function(x, x.mean((2, 3), keepdim=True)),
        drawn(2, 3, 4, 4) + 3,
        axes=axes,
    )


def test_a_value_times_itself_and_powers():
    check([helper.make_node("Mul", ["x", "x"], ["y"])], torch.square, drawn(2, 5))
    check(
        [node("Pow", "p")],
        lambda x, p: x**0.75,
        np.abs(drawn(2, 5)) + 0.5,
        p=np.float32(0.75),
    )


def test_matrices():
    w, b = drawn(4, 6), drawn(4)
    check([node("Gemm", "w", "b", transB=1, alpha=0.5)], _half_linear, drawn(3, 6), w=w, b=b)
    check([node("MatMul", "w")], torch.matmul, drawn(2, 5, 4), w=w)


def _half_linear(x, w, b):
    return 0.5 * (x @ w.T) + b


@pytest.mark.parametrize("keepdims", [0, 1])
def test_sums_and_means(keepdims):
    axes = np.array([1, -1])
    for operator, function in (("ReduceSum", torch.sum), ("ReduceMean", torch.mean)):
        check(
            [node(operator, "axes", keepdims=keepdims)],
            lambda x, axes, f=function: f(x, (1, 3), keepdim=bool(keepdims)),
            drawn(2, 3, 4, 5),
            axes=axes,
        )


def test_a_mean_over_sizes_that_vary():
    check(
        [node("ReduceMean", "axes", keepdims=1)],
        lambda x, axes: x.mean((2, 3), keepdim=True),
        drawn(2, 3, 4, 5),
        sizes=(3, "height", "width"),
        axes=np.array([2, 3]),
    )


@pytest.mark.parametrize("keepdims", [0, 1])
def test_lengths(keepdims):
    x = drawn(3, 4, 5)
    x[1] = 0  # where PyTorch gives no gradient
    check(
        [node("ReduceL2", "axes", keepdims=keepdims)],
        lambda x, axes: torch.linalg.vector_norm(x, dim=(1, 2), keepdim=bool(keepdims)),
        x,
        axes=np.array([1, 2]),
    )


@pytest.mark.parametrize("sizes", [None, (3, "height", "width")])
@pytest.mark.parametrize("wanted", [(9, 5), (4, 13), (7, 11)])
@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        (
            {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
            {"mode": "bilinear", "align_corners": False},
        ),
        (
            {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
            {"mode": "bilinear", "align_corners": True},
        ),
        (
            {
                "mode": "nearest",
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor",
            },
            {"mode": "nearest"},
        ),
        (
            {
                "mode": "cubic",
                "coordinate_transformation_mode": "pytorch_half_pixel",
                "cubic_coeff_a": -0.75,
            },
            {"mode": "bicubic", "align_corners": False},
        ),
    ],
)
def test_pictures_of_another_size(attributes, options, wanted, sizes):
    check(
        [helper.make_node("Resize", ["x", "", "", "s"], ["y"], **attributes)],
        lambda x, s: functional.interpolate(x, size=wanted, **options),
        drawn(2, 3, 4, 5),
        sizes=sizes,
        s=np.array([2, 3, *wanted]),
    )


def test_pictures_and_sequences_by_a_scale():
    nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    for rank, scale in ((4, (1.5, 2.0)), (3, (2.5,))):
        check(
            [helper.make_node("Resize", ["x", "", "s"], ["y"], mode="nearest", **nearest)],
            lambda x, s, scale=scale: functional.interpolate(x, scale_factor=scale),
            drawn(2, 3, *(4, 6)[: rank - 2]),
            s=np.array([1, 1, *scale], np.float32),
        )


def test_what_is_moved():
    check(
        [node("Transpose", perm=[0, 2, 3, 1])], lambda x: x.permute(0, 2, 3, 1), drawn(2, 3, 4, 5)
    )
    check(
        [node("Reshape", "shape")],
        lambda x, shape: x.reshape(-1, 12),
        drawn(2, 3, 4),
        shape=np.array([-1, 12]),
    )
    check(
        [node("Pad", "pads")],
        lambda x, pads: functional.pad(x, (2, 0, 1, 3)),
        drawn(2, 3, 4, 5),
        pads=np.array([0, 0, 1, 2, 0, 0, 3, 0]),
    )


def test_slices_with_steps():
    bounds = {
        "starts": np.array([1, 0]),
        "ends": np.array([2**63 - 1, 5]),
        "axes": np.array([2, 3]),
        "steps": np.array([2, 3]),
    }
    check(
        [node("Slice", *bounds)],
        lambda x, *_: x[:, :, 1::2, 0:5:3],
        drawn(2, 3, 8, 7),
        **bounds,
    )


def test_parts_and_the_whole():
    nodes = [
        helper.make_node("Split", ["x", "parts"], ["a", "b", "c"], axis=1),
        helper.make_node("Concat", ["c", "x", "a"], ["y"], axis=1),
    ]
    check(
        nodes,
        lambda x, parts: torch.cat([x[:, 4:], x, x[:, :1]], 1),
        drawn(2, 6, 3),
        parts=np.array([1, 3, 2]),
    )


TAKEN = [[[1, 0], [1, -2]], [[1, 0], [2, -1]], [[0, 2]], 1]  # twice, once each, from both ends


@pytest.mark.parametrize("places", TAKEN)
@pytest.mark.parametrize("axis", [1, 2])
def test_what_is_taken_twice_gets_both(axis, places):
    check(
        [node("Gather", "i", axis=axis)],
        lambda x, i: x[:, i] if axis == 1 else x[:, :, i],
        drawn(2, 3, 3),
        i=np.array(places),
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_places_that_the_graph_computes(axis):
    nodes = [
        helper.make_node("Add", ["i", "i"], ["places"]),
        helper.make_node("Gather", ["x", "places"], ["y"], axis=axis),
    ]
    check(
        nodes,
        lambda x, i: x[2 * i] if axis == 0 else x[:, 2 * i],
        drawn(3, 3, 2),
        i=np.array([[1], [0]]),
    )


def test_places_by_several_axes_that_are_taken_twice_get_both():
    nodes = [
        helper.make_node("Transpose", ["x"], ["last"], perm=[1, 2, 0]),
        helper.make_node("GatherND", ["last", "places"], ["y"]),
    ]
    for places in ([[[1, 0], [0, 2]], [[1, 0], [2, 2]]], [[2, 3], [0, 0]]):
        check(
            nodes,
            lambda x, i: x.permute(1, 2, 0)[i[..., 0], i[..., 1]],
            drawn(2, 3, 4),
            places=np.array(places),
        )
    with pytest.raises(GradientError, match=r"^GatherND \(y\): its places are apart for each row$"):
        gradient_of([node("GatherND", "p", batch_dims=1)], drawn(2, 3), {"p": [[0], [1]]})


def test_rectifiers_by_hand():
    x = np.array([[-1.0, -1.0, 2.0, 2.0]], np.float32)
    sign = np.sign(drawn(1, 4, seed=5))  # of the cotangent
    for rule, kept in (
        ("derivative", x > 0),
        ("guided", (x > 0) & (sign > 0)),
        ("deconvnet", sign > 0),
    ):
        found, cotangent = gradient_of([node("Relu")], x, {}, rectifier=rule)
        np.testing.assert_array_equal(found, np.where(kept, cotangent, 0))


def operator(name, output, *inputs):
    return helper.make_node(name, inputs, [output])


SILU = [operator("Sigmoid", "s", "x"), operator("Mul", "y", "s", "x")]
HALF_OF_ONE_MORE = [
    operator("Add", "more", "bent", "one"),
    operator("Mul", "gate", "half", "more"),
    operator("Mul", "y", "x", "gate"),
]
# As ONNX writes them before it has an operator for them, in opset 20.
GELU = [operator("Div", "d", "x", "root"), operator("Erf", "bent", "d"), *HALF_OF_ONE_MORE]
TANH_GELU = [
    operator("Pow", "p", "x", "three"),
    operator("Mul", "c", "cubic", "p"),
    operator("Add", "a", "x", "c"),
    operator("Mul", "m", "scale", "a"),
    operator("Tanh", "bent", "m"),
    *HALF_OF_ONE_MORE,
]
NUMBERS = {
    name: np.float32(value)
    for name, value in (
        *(("root", 2**0.5), ("one", 1), ("half", 0.5), ("three", 3)),
        *(("cubic", 0.044715), ("scale", (2 / np.pi) ** 0.5)),
    )
}


def tanh_gelu(x):
    return functional.gelu(x, approximate="tanh")


CURVED = {
    "silu": (SILU, functional.silu),
    "gelu": (GELU, functional.gelu),
    "tanh gelu": (TANH_GELU, tanh_gelu),
    "Gelu": ([node("Gelu")], functional.gelu),
    "Gelu by tanh": ([node("Gelu", approximate="tanh")], tanh_gelu),
    "Mish": ([node("Mish")], functional.mish),
    "Selu": ([node("Selu")], functional.selu),
    "Celu": ([node("Celu", alpha=1.3)], lambda x: functional.celu(x, 1.3)),
}


@pytest.mark.parametrize("name", CURVED)
def test_smooth_rectifiers_and_products_with_a_gate_are_one_rectifier(name):
    nodes, function = CURVED[name]
    check(nodes, lambda x, *_: function(x), 3 * drawn(2, 9), **NUMBERS)
    x = 3 * drawn(2, 9)
    leaf = torch.from_numpy(x).requires_grad_()
    (slope,) = torch.autograd.grad(function(leaf).sum(), leaf)
    above = 1 if name == "Celu" else slope.numpy()  # the identity there
    for rule, kept in (
        ("guided", (x > 0) * slope.numpy()),
        ("deconvnet", np.where(x > 0, above, 1)),
    ):
        found, cotangent = gradient_of(nodes, x, NUMBERS, rectifier=rule)
        np.testing.assert_allclose(found, cotangent.clip(0) * kept, rtol=1e-5, atol=1e-6)


def test_a_gate_with_other_numbers_is_none():
    numbers = {**NUMBERS, "root": np.float32(1.5)}
    found, cotangent = gradient_of(GELU, x := drawn(2, 9), numbers, rectifier="guided")
    leaf = torch.from_numpy(x).requires_grad_()
    y = leaf * (1 + torch.erf(leaf / 1.5)) / 2
    (expected,) = torch.autograd.grad(y, leaf, torch.from_numpy(cotangent))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_a_product_with_the_sigmoid_of_something_else_is_none():
    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Sigmoid", ["n"], ["s"]),
        helper.make_node("Mul", ["x", "s"], ["y"]),
    ]
    found, cotangent = gradient_of(nodes, x := drawn(2, 9), {}, rectifier="guided")
    leaf = torch.from_numpy(x).requires_grad_()
    y = leaf * torch.sigmoid(-leaf)
    (expected,) = torch.autograd.grad(y, leaf, torch.from_numpy(cotangent))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_an_operator_without_a_rule_is_named():
    with pytest.raises(GradientError, match=r"^CumSum \(y\) has no rule for its gradient$"):
        gradient_of([node("CumSum", "axis")], drawn(2, 3), {"axis": np.array(1)})


def test_a_kind_of_padding_without_a_rule_is_named():
    with pytest.raises(GradientError, match=r"^Pad \(y\): its mode is reflect$"):
        gradient_of(
            [node("Pad", "pads", mode="reflect")], drawn(2, 3), {"pads": np.array([0, 1, 0, 1])}
        )

"""How large the gradient is at each depth of a network, in evaluation mode.

He, Zhang, Ren and Sun, 2015, Deep Residual Learning for Image Recognition, arXiv 1512.03385: a
shortcut hands the gradient on whole, where a plain network multiplies it with weights at every
layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec

_ROWS = 8
_ADDITIONS = (torch.ops.aten.add, torch.ops.aten.add_)


def depth_of(program: ExportedProgram) -> int:
    """Count the layers with weights on the longest path from the input to the output."""
    return max(_weights_by_depth(program), default=0)


def gradient_norms(program: ExportedProgram, *, seed: int = 0) -> tuple[float, ...] | None:
    """Differentiate the cross-entropy of random classes for random inputs.

    Args:
        program: A captured classifier of one input; batch normalisation has its own statistics.
        seed: Of inputs and classes.

    Returns:
        The norm of the gradient of all weights at each depth; None if it is no classifier.
    """
    example = _example(program, torch.Generator().manual_seed(seed))
    if example is None:
        return None
    weights: dict[str, Tensor] = {}
    values = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            values.append(example)
            continue
        assert spec.target is not None
        value = program.state_dict.get(spec.target)
        value = program.constants[spec.target] if value is None else value.detach()
        if spec.kind is InputKind.PARAMETER:
            value = weights.setdefault(spec.target, value.clone().requires_grad_())
        values.append(value)
    with torch.enable_grad():
        (logits,) = fx.Interpreter(program.graph_module).run(*values)
    if logits.ndim != 2:
        return None
    classes = torch.randint(
        logits.shape[1], (len(logits),), generator=torch.Generator().manual_seed(seed)
    )
    loss = torch.nn.functional.cross_entropy(logits, classes)
    by_depth = _weights_by_depth(program)
    names = [name for depth in sorted(by_depth) for name in by_depth[depth]]
    found = torch.autograd.grad(loss, [weights[name] for name in names], allow_unused=True)
    gradients = {
        name: torch.zeros(()) if gradient is None else gradient
        for name, gradient in zip(names, found, strict=True)
    }
    return tuple(_norm([gradients[name] for name in by_depth[depth]]) for depth in sorted(by_depth))


def _norm(gradients: list[Tensor]) -> float:
    return float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())


def _weights_by_depth(program: ExportedProgram) -> dict[int, list[str]]:
    """Name the weights at each depth: those of a matrix or a kernel, without biases and norms.

    A weight that is masked or scaled first counts where the result meets the input; what is
    only added there is a bias, however many axes it has.
    """
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    specs = dict(zip(placeholders, program.graph_signature.input_specs, strict=True))
    # The weights that a node brings, as long as nothing of the input is in it.
    brought = {
        node: _own_weight(node, spec)
        for node, spec in specs.items()
        if spec.kind is not InputKind.USER_INPUT
    }
    depths: dict[fx.Node, int] = {}
    weights: dict[int, list[str]] = {}
    counted: set[str] = set()
    for node in program.graph.nodes:
        if node in specs:
            continue
        given = node.all_input_nodes
        found = [name for each in given for name in brought.get(each, ())]
        if all(each in brought for each in given):
            brought[node] = found
            continue
        adds = getattr(node.target, "overloadpacket", None) in _ADDITIONS
        new = [name for name in dict.fromkeys(found) if name not in counted and not adds]
        depths[node] = max((depths.get(each, 0) for each in given), default=0) + bool(new)
        if new:
            counted.update(new)
            weights.setdefault(depths[node], []).extend(new)
    return weights


def _own_weight(node: fx.Node, spec: InputSpec) -> list[str]:
    if spec.kind is not InputKind.PARAMETER or node.meta["val"].ndim < 2:
        return []
    assert spec.target is not None
    return [spec.target]


def _example(program: ExportedProgram, generator: torch.Generator) -> Tensor | None:
    names = program.graph_signature.user_inputs
    nodes = [node for node in program.graph.nodes if node.name in names]
    if len(nodes) != 1:
        return None
    value = nodes[0].meta["val"]
    first, *others = value.shape
    rows = first if isinstance(first, int) else _ROWS
    sizes = [rows, *(size if isinstance(size, int) else size.node.hint for size in others)]
    if value.is_floating_point():
        return torch.randn(sizes, generator=generator)
    return torch.randint(0, 256, sizes, generator=generator, dtype=value.dtype)

"""What can be captured, and what must be refused before it is served."""

import pytest
import torch
from torch import nn

from eyespot.exporter.capture import capture, find_gradient_node, input_nodes
from eyespot.exporter.errors import CaptureError

SAMPLE = torch.zeros(1, 3, 8, 8)


class Head(nn.Module):
    """One linear layer on the mean colour; each test changes one thing."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)))


class FunctionalDropout(Head):
    def forward(self, x):
        return self.fc(nn.functional.dropout(x.mean((2, 3)), 0.5, True))


class StubbornDropout(Head):
    """A part that does not follow `eval()`."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Dropout2d(0.5))
        self.part[0].train = lambda mode=True: self.part[0]

    def forward(self, x):
        return super().forward(self.part(x))


class BatchStatistics(Head):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x):
        return super().forward(self.norm(x))


class Random(Head):
    def forward(self, x):
        return super().forward(x) + torch.rand(2)


class Counter(Head):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(2))

    def forward(self, x):
        self.count.add_(1)
        return super().forward(x) + self.count


class CounterThroughView(Counter):
    def forward(self, x):
        self.count[:1].mul_(2)
        return Head.forward(self, x) + self.count


class ReassignedCounter(Counter):
    def forward(self, x):
        self.count = self.count + 1
        return Head.forward(self, x) + self.count


class ChangesItsInput(Head):
    def forward(self, x):
        return super().forward(x.relu_())


class FixedBatch(Head):
    def forward(self, x):
        return self.fc(x.mean((2, 3)).view(2, 3))


class Branching(Head):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else -super().forward(x)


class Pair(Head):
    def forward(self, x):
        return super().forward(x), x


class Named(Head):
    def forward(self, x):
        return {"logits": super().forward(x)}


class GivesItsInput(Head):
    def forward(self, x):
        return x


class Whole(Head):
    def forward(self, x):
        return super().forward(x).int()


class NoRows(Head):
    def forward(self, x):
        return super().forward(x).sum(0, keepdim=True)


class Fails(Head):
    def forward(self, x):
        raise KeyError("a mistake of the module's own")


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (FunctionalDropout, "aten.dropout.default is live"),
        (StubbornDropout, r"feature_dropout.*'part.0'"),
        (BatchStatistics, r"batch_norm.* is live \(training=True\) in module 'norm'"),
        (Random, "rand.* draws at random"),
        (Counter, "writes into b_count"),
        (CounterThroughView, "writes into b_count"),
        (ReassignedCounter, "writes into b_count"),
        (ChangesItsInput, "relu_.* writes into x"),
        (FixedBatch, "batch"),
        (Branching, "cannot be captured"),
        (Pair, "one tensor"),
        (Named, "one tensor"),
        (GivesItsInput, "gives its input back"),
        (Whole, "torch.int32: float32 is expected"),
        (NoRows, "first size must be dynamic"),
        (Fails, "a mistake of the module's own"),
    ],
)
def test_what_cannot_be_served_is_refused(network, told):
    module = network().eval()
    if network is StubbornDropout:
        assert module.part[0].training
    with pytest.raises(CaptureError, match=told):
        capture(module, SAMPLE)


def test_dropout_in_eval_and_running_statistics_are_no_obstacle():
    module = nn.Sequential(
        nn.BatchNorm2d(3), nn.Dropout2d(), nn.InstanceNorm2d(3), nn.ReLU(True), nn.Flatten(1)
    )
    capture(module.eval(), SAMPLE)


def test_any_batch_can_be_run_one_row_too():
    module = Head().eval()
    program = capture(module, SAMPLE)
    for rows in (1, 2, 3, 17):
        x = torch.randn(rows, 3, 8, 8)
        assert torch.equal(program.module()(x), module(x))


def test_gradients_begin_at_the_cast_or_at_the_input():
    class Cast(Head):
        def forward(self, image):
            return super().forward(image.float() / 255)

    program = capture(Cast().eval(), torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    (node,) = input_nodes(program)
    (user,) = node.users
    assert find_gradient_node(program) == user.name
    assert find_gradient_node(capture(Head().eval(), SAMPLE)) == "x"


def test_two_casts_are_two_places_to_begin():
    class TwoCasts(Head):
        def forward(self, image):
            return super().forward(image.float()) + image.double().mean((2, 3))[:, :2].float()

    program = capture(TwoCasts().eval(), torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(CaptureError, match="cast 2 times"):
        find_gradient_node(program)

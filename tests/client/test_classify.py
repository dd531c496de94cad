import math

import numpy as np
import pytest

from eyespot.client import ClientError
from eyespot.client.answers import classify, output_name
from eyespot.client.values import ModelConfig, ModelMetadata, TensorMetadata
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1 import model_config_pb2


def test_each_picture_gets_its_likeliest_classes_with_labels(client, picture):
    green, blue = client.classify("colors", [picture((0, 1, 0)), picture((0, 0, 2))], top_k=2)
    # Logits 0, 4, 0.
    assert [each.label for each in green] == [each.name for each in green] == ["green", "red"]
    assert green[0].index == 1
    assert green[0].logit == 4
    assert green[0].probability == pytest.approx(math.exp(4) / (math.exp(4) + 2))
    # Logits 0, 0, 8.
    assert blue[0].label == "blue"
    assert blue[1].probability == pytest.approx(1 / (math.exp(8) + 2))


def test_an_array_may_be_one_row_or_any_number_of_rows(client, servicer):
    row = np.zeros((2, 2, 3), np.uint8)
    row[0, 0, 2] = 9
    assert [classes[0].label for classes in client.classify("colors", row)] == ["blue"]
    classes = client.classify("colors", np.stack([row] * 5))
    assert [each[0].label for each in classes] == ["blue"] * 5
    requests = servicer.of(pb.ModelInferRequest)
    assert [request.inputs[0].shape[0] for request in requests] == [1, 2, 2, 1]


def test_an_array_of_another_rank_is_refused(client):
    with pytest.raises(ClientError, match=r"4 dimensions with the batch or 3 without.*\(2, 2\)"):
        client.classify("colors", np.zeros((2, 2), np.uint8))


def test_without_labels_there_are_numbers(client, servicer):
    servicer.has_config = False
    [classes] = client.classify("planes", np.ones((1, 2, 3), np.float32))
    assert (classes[0].index, classes[0].label, classes[0].name) == (0, "", "class 0")
    assert classes[0].probability == pytest.approx(1 / 6)


def test_large_logits_do_not_overflow():
    [[best, second]] = classify(np.array([[1e4, 1e4 - math.log(3)]]), (), top_k=2)
    assert best.probability == pytest.approx(0.75)
    assert second.probability == pytest.approx(0.25)


def test_more_classes_than_there_are_give_all_of_them():
    [classes] = classify(np.zeros((1, 2), np.float32), ("a", "b"), top_k=9)
    assert [each.label for each in classes] == ["a", "b"]


def test_an_output_of_maps_is_none_of_a_classifier():
    with pytest.raises(ClientError, match=r"\(batch, classes\), found \(1, 2, 3\)"):
        classify(np.zeros((1, 2, 3), np.float32), (), top_k=1)
    assert len(classify(np.zeros((1, 2, 1, 1), np.float32), (), top_k=5)[0]) == 2


def test_top_k_is_positive(client, picture):
    with pytest.raises(ClientError, match="top_k must be at least 1, found 0"):
        client.classify("colors", picture("red"), top_k=0)


def test_which_output_is_the_logits():
    def metadata(*names):
        outputs = tuple(TensorMetadata(name, "FP32", (-1, 2)) for name in names)
        return ModelMetadata("m", (), "", (), outputs)

    assert output_name(metadata("scores"), None, usual="logits") == "scores"
    assert output_name(metadata("features", "logits"), None, usual="logits") == "logits"
    assert output_name(metadata("features", "scores"), "scores", usual="logits") == "scores"
    with pytest.raises(
        ClientError, match="no output 'logits', but features, scores: in Python, `output=`"
    ):
        output_name(metadata("features", "scores"), None, usual="logits")


def test_independent_classes_have_each_a_probability_of_their_own():
    [[best, second]] = classify(np.array([[math.log(3), -800.0]]), (), top_k=2, independent=True)
    assert (best.index, best.probability) == (0, pytest.approx(0.75))  # 3 / (1 + 3)
    assert second.probability == 0.0


def test_a_model_tells_that_its_classes_are_independent():
    message = model_config_pb2.ModelConfig(name="several")
    config = ModelConfig("several", 8, None, ("a", "b"), message)
    assert not config.has_independent_classes
    message.parameters["classes"].string_value = "independent"
    assert config.has_independent_classes

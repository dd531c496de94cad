"""Our messages against those of the client that everybody uses."""

import json
import subprocess
import sys

from eyespot.v1 import inference_pb2, model_config_pb2

# In a process of its own: what a client registers must not matter to ours.
TABLE_OF_TRITONCLIENT = """
import json
from tritonclient.grpc import model_config_pb2, service_pb2

def table(message):
    return {
        "fields": sorted([f.name, f.number, f.type, f.is_repeated] for f in message.fields),
        "enums": {e.name: e.values_by_name.keys() and sorted(
            [v.name, v.number] for v in e.values) for e in message.enum_types},
        "nested": {n.name: table(n) for n in message.nested_types},
    }

print(json.dumps({name: table(message)
    for module in (service_pb2, model_config_pb2)
    for name, message in module.DESCRIPTOR.message_types_by_name.items()}))
"""


# What we add to the protocol stands far behind its own numbers, where clients pass it by.
FIRST_OF_OURS = 1000
OUR_MESSAGES = {"StatisticHistogram"}


def table(message):
    return {
        "fields": sorted(
            [f.name, f.number, f.type, f.is_repeated]
            for f in message.fields
            if f.number < FIRST_OF_OURS
        ),
        "enums": {e.name: sorted([v.name, v.number] for v in e.values) for e in message.enum_types},
        "nested": {nested.name: table(nested) for nested in message.nested_types},
    }


def test_names_numbers_and_types_are_those_of_the_protocol():
    ran = subprocess.run(
        [sys.executable, "-c", TABLE_OF_TRITONCLIENT], capture_output=True, text=True, check=True
    )
    theirs = json.loads(ran.stdout)
    for module in (inference_pb2, model_config_pb2):
        for name, message in module.DESCRIPTOR.message_types_by_name.items():
            if name not in OUR_MESSAGES:
                assert table(message) == theirs[name], name


def test_every_field_of_the_model_configuration_is_declared():
    declared = model_config_pb2.ModelConfig.DESCRIPTOR.fields_by_name
    for field in ("ensemble_scheduling", "model_metrics", "response_cache", "runtime"):
        assert field in declared

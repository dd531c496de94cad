"""Every rule, by the operator."""

from __future__ import annotations

from collections.abc import Mapping

from eyespot.exporter.gradient_graph import (
    activation_rules,
    arithmetic_rules,
    convolution_rules,
    rearrangement_rules,
    resampling_rules,
)
from eyespot.exporter.gradient_graph.rule import Rule

RULES: Mapping[str, Rule] = {
    **arithmetic_rules.RULES,
    **activation_rules.RULES,
    **convolution_rules.RULES,
    **rearrangement_rules.RULES,
    **resampling_rules.RULES,
}

"""The ten laws of a core, in order."""

from __future__ import annotations

from s5rl.conformance.array_laws import batch_axes_agree, shapes_stay, transformations_work
from s5rl.conformance.case import long_case, one_case_a_shape, small_cases
from s5rl.conformance.law import Law
from s5rl.conformance.reset_laws import (
    has_operator,
    operator_is_associative,
    resets_separate,
    resets_start_anew,
)
from s5rl.conformance.sequence_laws import (
    cuts_change_nothing,
    no_flags_are_false_flags,
    outputs_are_causal,
    unroll_is_a_scan,
)

LAWS = (
    Law(1, "unroll equals a scan of step", unroll_is_a_scan, (*small_cases(), long_case())),
    Law(2, "a cut changes nothing", cuts_change_nothing, (*small_cases(), long_case())),
    Law(3, "nothing before a reset gets behind it", resets_separate, (*small_cases(), long_case())),
    Law(4, "a reset is a new start, even from NaN", resets_start_anew, small_cases()),
    Law(5, "outputs are causal", outputs_are_causal, (*small_cases(), long_case())),
    Law(6, "batch, no batch and vmap agree", batch_axes_agree, one_case_a_shape()),
    Law(7, "no flags equals all False", no_flags_are_false_flags, one_case_a_shape()),
    Law(8, "the operator is associative", operator_is_associative, one_case_a_shape()[:1], has_operator),
    Law(9, "jit, grad, vmap, x64, bfloat16 work", transformations_work, one_case_a_shape()[1:2]),
    Law(10, "step is compiled once", shapes_stay, one_case_a_shape()[1:]),
)
"""The laws of a core, each with the cases on which it is tried."""

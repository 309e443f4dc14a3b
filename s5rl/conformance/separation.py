"""What lies before a row's last reset and what lies behind it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from s5rl.conformance.case import Case
from s5rl.conformance.fills import Fill, fill_floats, rows
from s5rl.conformance.subject import Data, Subject


class Separation(NamedTuple):
    """The data of a case, cut in each row at its last reset."""

    data: Data
    """Its weights are 0 but for outputs and final states behind a reset."""
    before: np.ndarray
    """bool [T, B]."""
    behind: np.ndarray
    """bool [T, B], the step of the reset included; False in rows without a reset."""
    has_reset: np.ndarray
    """bool [B]."""

    def with_other_past(self, fill: Fill) -> Data:
        """Returns the data with other numbers in all that lies before a reset."""
        inputs = np.where(self.before[..., None], fill(self.data.inputs.shape), self.data.inputs)
        return self.data._replace(inputs=inputs, state=fill_floats(self.data.state, self.has_reset, fill))


def separate(subject: Subject, case: Case) -> Separation:
    """Returns the data of a case, cut at the resets."""
    times = np.arange(case.length)[:, None]
    has_reset = np.asarray(case.flags.any(axis=0))
    last = np.where(case.flags, times, -1).max(axis=0)
    before, behind = (np.asarray(where & has_reset) for where in (times < last, times >= last))
    data = subject.data(case)
    data = data._replace(
        output_weights=data.output_weights * behind[..., None],
        state_weights=[np.where(rows(has_reset, w), w, 0) for w in data.state_weights],
    )
    return Separation(data, before, behind, has_reset)

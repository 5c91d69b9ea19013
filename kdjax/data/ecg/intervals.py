"""The time between successive heart beats (RR intervals), around each beat."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

AROUND = 22  # intervals kept on either side of a beat
BEFORE, AFTER = AROUND - 1, AROUND  # the columns of the two that it is an end of


def around(time: NDArray[np.float64]) -> NDArray[np.float32]:
    """The 22 intervals before each beat and the 22 after it, in seconds: [n, 44].

    time: [n], when the beats are, ascending. Column 21 is the interval that ends at the
    beat, column 22 the one that begins there. NaN where the recording has no beat, and
    where two beats stand at one time, which is a mistake in the marks.
    """
    if not len(time):
        return np.empty((0, 2 * AROUND), np.float32)
    steps = np.diff(time)
    known = np.where(steps > 0, steps, np.nan)
    padded = np.pad(known, AROUND, constant_values=np.nan)
    return sliding_window_view(padded, 2 * AROUND).astype(np.float32)

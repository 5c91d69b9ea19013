"""Speed of the search for fixed points: starts per second of one core's time.

    taskset -c 0 python tests/benchmarks/fixed_points.py [--rounds=N] [--tiny]

The network is not trained, but made to be like one that decides between two answers:
128 ReLU units, a quarter of them active, two groups that excite themselves and
inhibit each other, a third that inhibits both, random weights between all. 1,000
starts along its
trajectories, with noise. Searched are its own flow, in which most of the Jacobian's
rows are those of silent units, and its average over noise, whose Jacobian is dense.
Printed: starts per CPU second, and what was found. `--tiny` is what the tests run.
"""

import statistics
import sys
import time

import numpy as np
from stepping import parser, print_machine

from kdjax.tasks.cognitive.dynamics.fixed_points import find
from kdjax.tasks.cognitive.dynamics.flows import rate_flow, voltage_flow

TAU, DT = 100.0, 20.0
NOISE = 0.2


def network(units, starts, seed=1):
    """(recurrent weights in-by-out, drive, starts) of a network that decides."""
    rng = np.random.default_rng(seed)
    group = units // 10
    left, right, inhibitory = (np.arange(i * group, (i + 1) * group) for i in range(3))
    both = np.concatenate([left, right])
    w = rng.normal(size=(units, units)) / np.sqrt(units)
    w[np.ix_(both, both)] *= 0.2
    for own, other in ((left, right), (right, left)):
        w[np.ix_(own, own)] += 1.6 / group
        w[np.ix_(own, other)] -= 1.2 / group
    w[np.ix_(both, inhibitory)] = 1 / group
    w[np.ix_(inhibitory, both)] -= 0.8 / group
    drive = rng.normal(-1.2, 0.3, units)
    drive[both] = 0.3 + rng.normal(0, 0.05, len(both))
    drive[inhibitory] = -0.2
    x = np.maximum(rng.normal(0, 0.5, (50, units)), 0)
    states = []
    for _ in range(100):
        x = x + DT / TAU * (np.maximum(x @ w + drive, 0) - x)
        states.append(x)
    along = np.concatenate(states)
    chosen = along[rng.choice(len(along), starts)]
    return w, drive, chosen + rng.normal(0, 0.1, chosen.shape)


def main(arguments):
    flags = parser(__doc__)
    flags.add_argument("--seed", type=int, default=1, help="of the network")
    given = flags.parse_args(arguments)
    print_machine()
    units, count = (20, 30) if given.tiny else (128, 1000)
    w, drive, starts = network(units, count, given.seed)
    flows = {
        "rate": (rate_flow(w, drive, "relu", TAU), starts),
        "voltage": (voltage_flow(w, drive, "relu", TAU), starts @ w + drive),
        "rate, averaged over noise": (
            rate_flow(w, drive, "relu", TAU, np.full(units, NOISE)),
            starts,
        ),
    }
    for name, (flow, x) in flows.items():
        seconds = []
        for _ in range(given.rounds):
            before = time.process_time()
            points = find(flow, x)
            seconds.append(time.process_time() - before)
        share = np.mean(points.status[points.point] == "fixed")
        print(
            f"{name}: {count / statistics.median(seconds):.4g} starts/s, "
            f"{len(points.q)} points, {share:.3g} of the starts at fixed ones",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])

"""Speed of the methods of distillation: ms of a step, WRN16-3 -> WRN16-1.

    python tests/benchmarks/methods.py [--rounds=N] [--peer=PYTHON_WITH_TORCH]
        [--into=FILE] [--tiny]

The step is wearable.py's without augmentation: batch 64 of 128 samples x 9 channels, a
frozen teacher's forward pass, the student's with its gradient, SGD. Losses and weights
are those of configs/wisdm_methods.py and of ../shared/peers/kd_methods_torch.py, where
it has the method; `--peer` runs it in turn. `--into` writes the table
between the marks of a Markdown file. `--tiny` is what the tests run.
"""

import sys

from stepping import Case, parser, print_machine, report, steps
from wearable import FULL, TINY, make_task

from kdjax.configs.wisdm_methods import METHODS

# ours that the peer has, by its names
PEERS = (
    *("kd", "kd_standardised", "decoupled", "dist", "attention", "amd", "amd_local"),
    *("similarity", "relational", "pkt"),
)
SOME = ("kd", "fitnet", "relational")


def losses_of(name):
    """The method's terms, each with the cross-entropy, between equal groups."""
    terms = {k: dict(v) for k, v in METHODS[name].items()}
    terms.setdefault("cross_entropy", {"weight": 1.0})
    if name == "kd":  # the baseline of the peer's ratios
        terms["cross_entropy"] = {"weight": 1.0}
    for fields in terms.values():
        if "layers" in fields:
            fields["layers"] = tuple(fields["layers"].values())
    return terms


def cases(sizes, methods):
    teacher, student = sizes.networks[-2:]
    for name in methods:
        yield Case(
            name=f"{name} step",
            prepare=steps(
                lambda name=name: make_task(
                    sizes, student, teacher, losses=losses_of(name), augment=None
                ),
                sizes.batch,
                repeats=sizes.steps,
            ),
            peer=("kd_methods_torch.py", f"torch {name} step", name)
            if name in PEERS
            else None,
        )


def main(arguments):
    given = parser(__doc__, into=True).parse_args(arguments)
    print_machine()
    sizes = TINY if given.tiny else FULL
    methods = SOME if given.tiny else METHODS
    report(
        cases(sizes, methods),
        rounds=given.rounds,
        peer=given.peer,
        into=given.into,
        name="methods",
    )


if __name__ == "__main__":
    main(sys.argv[1:])

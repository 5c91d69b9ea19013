"""What each of eight constraints costs in behaviour, in one program.

    bash launch/local.sh configs/ctrnn_constraints.py
    bash launch/local.sh configs/ctrnn_constraints.py:smoke

The checkerboard task; 5 seeds of each of 8 members, which share initial weights, trials
and noise by seed. Each list has a value for each member.

Cost: not measured as a whole.
"""

from ml_collections import ConfigDict

from kdjax.configs import common

#               costs of rates, weights   proximal  mask  top-k  Dale   inputs
MEMBERS = {
    "free": ((0.0, 0.0), 0.0, 1.0, 1.0, None, False),
    "rate_cost": ((1e-6, 0.0), 0.0, 1.0, 1.0, None, False),
    "weight_cost": ((0.0, 1e-4), 0.0, 1.0, 1.0, None, False),
    "blog_costs": ((1e-6, 1e-4), 0.0, 1.0, 1.0, None, False),
    "proximal": ((0.0, 0.0), 5e-2, 1.0, 1.0, None, False),
    "mask": ((0.0, 0.0), 0.0, 0.12, 1.0, None, False),
    "top_k": ((0.0, 0.0), 0.0, 1.0, 0.12, None, False),
    "dale": ((0.0, 0.0), 0.0, 1.0, 1.0, 0.8, True),
}


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    common.cognitive(config, smoke=smoke, steps=1500)
    config.trials = {"name": "checkerboard"}
    config.model = {"name": "ctrnn", "units": 16 if smoke else 128}
    config.losses = common.BLOG_COSTS
    config.analysis.starts = 0
    costs, proximal, mask, top_k, dale, inputs = zip(*MEMBERS.values(), strict=True)
    config.population = {
        "name": tuple(MEMBERS),
        "losses": {
            "rate_l1": {"weight": tuple(rate for rate, _ in costs)},
            "weight_l1": {"weight": tuple(weight for _, weight in costs)},
        },
        "constraints": {
            "proximal": proximal,
            "density": mask,
            "top_k": {"density": top_k},
            "excitatory": dale,
            "positive_inputs": inputs,
        },
    }
    config.stages = {"ctrnn": {}}
    config.report = {
        "order": tuple(MEMBERS),
        "comparisons": tuple((name, "free") for name in MEMBERS if name != "free"),
    }
    return config

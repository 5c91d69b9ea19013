"""Every field of a config is reached by a flag, and a misspelt one is named."""

import inspect

import pytest

from kdjax import augment, data, models, plan
from kdjax.cli import configfile, overrides
from kdjax.errors import InputError, check_fields
from kdjax.stages import methods
from kdjax.tasks import ALL
from kdjax.tasks.anomaly import detectors
from kdjax.tasks.brain.decoding import decoders, neural
from kdjax.tasks.cognitive import analysis, constraints, curriculum, trials
from kdjax.tasks.contrastive import readouts, simclr
from kdjax.training import optim, task

# A section, and what its `name` may stand for.
NAMED = {
    "augment": augment.AUGMENTATIONS,
    "data": data.LOADERS,
    "decoder": decoders.DECODERS | {"network": neural.network},
    "detector": detectors.DETECTORS,
    "model": models.MODELS | models.GANS | models.AUTOENCODERS,
    "optimizer": optim.OPTIMIZERS,
    "optimizer.schedule": optim.SCHEDULES,
    "probe": readouts.PROBES,
    "trials": trials.PARADIGMS,
}
BARE = ("fitnet", "variational")  # terms without fields of their own
# A section without a name, and what takes its fields.
ALONE = {
    "analysis": analysis.Analysis,
    "constraints": constraints.constraints,
    "contrast": simclr.Contrast,
    "curriculum": curriculum.curriculum,
    "training": task.Training,
    **{
        f"losses.{name}": methods.TERMS[name]
        for name in methods.TERMS
        if name not in BARE
    },
}
CASES = [
    *((section, name, f) for section, t in NAMED.items() for name, f in t.items()),
    *((section, None, f) for section, f in ALONE.items()),
]
# what the program itself gives
GIVEN = {"batch_norm", "classes", "seed", "total_steps", "inputs", "outputs", "dt"}


def schema(function):
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in GIVEN
        and (
            parameter.kind is parameter.KEYWORD_ONLY
            or inspect.isclass(function)  # of fields
        )
    }


@pytest.fixture(scope="module")
def config():
    return configfile.load("digits_eskd")


def resolved(config, section, flags):
    """The section of a stage, after the flags."""
    _, given = overrides.taken(["kdjax", *flags])
    place = plan.resolve(overrides.laid_over(config, given))["scratch"]
    for key in section.split("."):
        place = place[key]
    return place


def base_name(config, section):
    place = config
    for key in section.split("."):
        place = place.get(key, {})
    return place.get("name")


@pytest.mark.parametrize(
    ("section", "name", "function"),
    CASES,
    ids=[f"{section}-{name}" for section, name, _ in CASES],
)
def test_every_field_is_reached_by_a_flag(config, section, name, function):
    """A flag once reached the fields alone that the config spelt out."""
    known = schema(function)
    assert known or name in {"class_mean", "lda", "grayscale", "flip", "linear"}
    flags = [f"--config.{section}.{field}=7" for field in known]
    flags += [f"--config.{section}.name={name}"] if name else []
    found = resolved(config, section, flags)
    for field in known:
        assert found[field] in (7, [7])
    # those of the config's own name are gone
    others = set(found) - set(known) - {"name", *overrides.COMMON.get(section, ())}
    assert not others or name is None or name == base_name(config, section)
    check_fields({f: found[f] for f in known}, known, where=f"config.{section}")


@pytest.mark.parametrize("task_name", sorted(ALL.tasks))
def test_every_section_of_a_task_is_reached_by_a_flag(config, task_name):
    known = set(inspect.signature(ALL.tasks[task_name]).parameters)
    known -= {"seed", "training"}
    for field in known:
        flags = [f"--config.task={task_name}", f"--config.{field}.a=1"]
        found = resolved(config, field, flags)
        assert found["a"] == 1


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("training.epcohs", "epochs"),
        ("optimizer.momentm", "momentum"),
        ("optimizer.schedule.warmpu", "warmup"),
        ("data.validaton", "validation"),
        ("model.widhts", "widths"),
        ("losses.cross_entropy.label_smothing", "label_smoothing"),
    ],
)
def test_a_misspelt_field_is_named_with_the_nearest(config, flag, hint):
    from kdjax import experiment

    _, given = overrides.taken(["kdjax", f"--config.{flag}=1"])
    with pytest.raises(InputError) as raised:
        experiment.settings(overrides.laid_over(config, given))
    assert f"config.{flag}: unknown field (did you mean {hint!r}?)" in str(raised.value)

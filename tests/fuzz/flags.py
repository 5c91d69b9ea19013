"""Command lines with fields of a config changed, as `kdjax run` parses them."""

from absl import flags

from kdjax.cli import configfile, run
from kdjax.errors import InputError
from tests.fuzz import mutations
from tests.fuzz.configs import check as check_config
from tests.fuzz.configs import valid
from tests.fuzz.mutations import places

CONFIGS = {
    "tests/small.py": "tests.small",
    "configs/digits_eskd.py:smoke": "kdjax.configs.digits_eskd",
    "configs/ctrnn_yang.py:smoke": "kdjax.configs.ctrnn_yang",
    "configs/simclr_digits.py:smoke": "kdjax.configs.simclr_digits",
}
# Of no config, or of none as it stands.
FIELDS = ["data.seed", "report.comparisons", "devices", "model.x", "x", "", ".", "a.b"]
MORE = ["--", "more", "--config", "--x=1", "-", "--stage="]
VALUES = [text for text in mutations.WRITTEN if "\0" not in text]


def arguments(random):
    """A command line of `kdjax run`: a config, and one to three of its fields."""
    config = random.choice(sorted(CONFIGS))
    every = places(valid(CONFIGS[config]))
    paths = [".".join(path) for path in every if all(isinstance(k, str) for k in path)]
    line = [f"--config={config}"]
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        field = random.choice(FIELDS if random.random() < 0.1 else paths)
        if random.random() < 0.3:
            field = misspelt(field, random)
        before = "--sweep" * (random.random() < 0.15) + "--"
        before = before.replace("--sweep--", "--sweep.")
        line.append(f"{before}config.{field}={random.choice(VALUES)}")
    return line + [random.choice(MORE)] * (random.random() < 0.1)


def misspelt(field, random):
    """A letter is missing, twice there, or another one."""
    i = random.randrange(len(field)) if field else 0
    return field[:i] + random.choice(["", field[i : i + 1] * 2, "z"]) + field[i + 1 :]


def check(line, workdir):
    """Whether the command line is right, up to the first step of training."""
    flags.FLAGS.unparse_flags()
    given = []
    try:
        rest = run._parse(given, ["kdjax", *line])
        config = configfile.read(flags.FLAGS.config, given)
    except (InputError, SystemExit) as error:
        wrong = error
    else:
        wrong = None
    finally:
        flags.FLAGS.unparse_flags()
    if wrong is not None:
        assert "\n" not in str(wrong)
        assert getattr(wrong, "code", 2) == 2
        return False
    return len(rest) == 1 and check_config(config, workdir)

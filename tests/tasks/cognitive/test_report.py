"""What the report says of networks of cognitive tasks, from a fabricated workdir."""

import json
import re

import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.report.runs import gaps, stage_runs
from kdjax.report.statistics import holm, paired_permutation
from kdjax.tasks.cognitive.report import (
    activity,
    behaviour,
    constraint_table,
    curves,
    dynamics,
    paths,
)
from kdjax.tasks.cognitive.report.stored import first, left
from tests.fabricated import edit, png_size
from tests.tasks.cognitive import fabricated
from tests.tasks.cognitive.fabricated import (
    STAGES,
    fabricate,
    read_experiment,
    threshold,
    write,
    write_report,
    write_stage,
)

T975 = 12.7062  # Student's t with one degree of freedom


def table(section, heading):
    """The rows, without the first cell's name, of the table that starts so."""
    lines = section.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("| "):
            break
        rows.append(line.strip("| ").split(" | "))
        assert len(rows[-1]) == lines[start].count("|") - 1
    return rows


def pair(a, b, form):
    """Two seeds' mean and half their 95 % interval."""
    half = T975 * abs(a - b) / 2
    return f"{(a + b) / 2:{form}} ± {half:{form}}"


def test_results_have_correct_trials_and_steps_to_the_criterion(tmp_path):
    fabricate(tmp_path)
    edit(tmp_path / "seed_1/sparse/results.json", resumed=[{}])
    section = behaviour.results_section(read_experiment(tmp_path))
    free, sparse = table(section, "| stage | correct, `last`")
    assert free[:3] == ["free", pair(90, 91, ".1f"), pair(90, 91, ".1f")]
    # 60 s x 200 of 300 steps / 2 networks
    assert free[3:6] == ["2 of 2", "200", "20 ± 0"]
    assert sparse[3:6] == ["2 of 2", "200", "20"], "an interrupted run's is not known"


def test_a_criterion_that_was_never_met(tmp_path):
    write_stage(tmp_path, 0, "free", reached=(0.5, 0.9))
    (row,) = table(
        behaviour.results_section(read_experiment(tmp_path)), "| stage | correct"
    )
    assert row[3:6] == ["0 of 1", "-", "-"]


def test_psychometric_parameters_and_the_ideal_observer(tmp_path):
    section = behaviour.behaviour_section(read_experiment(fabricate(tmp_path)))
    free, sparse, ideal = table(section, "| stage | seeds | threshold")
    assert free == ["free", "2", pair(6, 7, ".2f"), "1.25 ± 0.00", "1.00 ± 0.00"]
    assert sparse[2] == pair(9, 10, ".2f")
    assert ideal[0].startswith("ideal observer")
    assert 5 < float(ideal[2]) < 7
    rows = table(section, "| % coherence | 2 | 8 | 32 |")
    assert [row[0] for row in rows] == ["free", "sparse", "ideal observer"]
    values = [100 * fabricated.fit_at(t).curve(0.08) for t in (0.06, 0.07)]
    assert rows[0][2] == pair(*values, ".1f")
    assert float(rows[2][3]) == 100.0
    assert "not determine" not in section


def test_one_seed_has_the_interval_over_its_trials(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    section = behaviour.behaviour_section(read_experiment(tmp_path))
    free = table(section, "| stage | seeds | threshold")[0]
    assert free[2:4] == ["6.00 (5.00 to 10.00)", "1.25 (1.00 to 2.00)"]


@pytest.mark.parametrize("change", [{"threshold": 0.5}, {"slope": 20.0}])
def test_a_curve_that_its_trials_do_not_determine_is_said(tmp_path, change):
    fabricate(tmp_path)
    edit(tmp_path / "seed_0/sparse/psychometrics.json", **change)
    section = behaviour.behaviour_section(read_experiment(tmp_path))
    warning = next(line for line in section.splitlines() if line.startswith("> "))
    assert "`sparse`" in warning
    assert "`free`" not in warning


def test_animals_beside_the_networks(tmp_path):
    section = behaviour.behaviour_section(read_experiment(fabricate(tmp_path)))
    row = table(section, "| animal |")[0]
    assert row[:5] == ["T", "12.00", "1.40", "2.00", "free"]
    assert row[5:7] == [pair(0.5, 0.6, ".3f"), "2.0 ± 0.0"]
    assert row[7] == pair(0.06 / 0.12, 0.07 / 0.12, ".3f")


def test_reaction_times_with_gaps(tmp_path):
    fabricate(tmp_path)
    for seed in (0, 1):
        content = fabricated.curve("sparse", seed, crossed=False, animals=False)
        write(tmp_path / f"seed_{seed}" / "sparse", psychometrics=content)
    section = behaviour.behaviour_section(read_experiment(tmp_path))
    free, sparse = table(section, "| stage | seeds that crossed")
    assert free[1:] == [
        *("2 of 2", "-", "0.0 ± 0.0"),
        *(pair(200, 220, ".0f"), "100.0 ± 0.0"),
    ]
    assert sparse == ["sparse", "0 of 2", "-", "-", "-", "-"]
    assert "Not crossed in any trial: sparse." in section


def test_constraints_side_by_side_and_paired(tmp_path):
    fabricate(tmp_path, seeds=range(6))
    section = constraint_table.constraint_section(read_experiment(tmp_path))
    free, _ = table(section, "| stage | weights above 0 (%)")
    assert free[1:4] == ["100.0 ± 0.0", "25.0 ± 0.0", "12.5 ± 0.0"]
    assert free[4].startswith("8 ± ")  # 5 to 10, 7.5
    assert free[5:8] == ["60.0 ± 0.0", "3.5 ± 0.0", "2.2 ± 0.0"]
    rows = table(section, "| stage | against")
    assert [row[2].split(" ")[0] for row in rows] == ["threshold", "slope", "correct"]
    assert [row[4] for row in rows] == ["+3.00", "+0.00", "-5.00"]
    a = [threshold("sparse", seed) for seed in range(6)]
    b = [threshold("free", seed) for seed in range(6)]
    p = paired_permutation(a, b)
    assert p == 2 / 2**6
    adjusted = holm([p, 1.0, p])
    assert [row[5] for row in rows] == [f"{p:.3g}", "1", f"{p:.3g}"]
    assert [row[6] for row in rows] == [f"{q:.3g}" for q in adjusted]
    assert [row[7] for row in rows] == ["not significant"] * 3  # .094 after Holm
    assert "It takes at least 7 seeds" in section


def test_a_significant_cost_has_its_sign(tmp_path):
    fabricate(tmp_path, seeds=range(8))
    section = constraint_table.constraint_section(read_experiment(tmp_path))
    verdicts = [row[7] for row in table(section, "| stage | against")]
    assert verdicts == ["higher", "not significant", "lower"]


def test_the_config_says_what_constraints_are_compared_with(tmp_path):
    fabricate(tmp_path, settings={"comparisons": [["free", "sparse"]]})
    section = constraint_table.constraint_section(read_experiment(tmp_path))
    rows = table(section, "| stage | against")
    assert {tuple(row[:2]) for row in rows} == {("free", "sparse")}
    assert rows[0][4] == "-3.00"


def test_fixed_points_over_seeds(tmp_path):
    section = dynamics.fixed_points_section(read_experiment(fabricate(tmp_path)))
    rows = table(section, "| stage | held input")
    assert len(rows) == 4
    assert rows[0] == [
        *("free", "cue 0, coherence -0.32"),
        *("1", "1", "0", "250 to 300", "1 of 2"),
        *("1 to 2", "0", "0", "400", "-"),
    ]
    # the slow point's 1e11 ms are not a fixed point's
    assert rows[1][2:] == ["0", "0", "1", "-", "1 of 2", *["-"] * 5]
    assert "search ended is 1.0e-06" in section


def test_fixed_points_without_noise_have_no_columns_for_it(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    mean = {k: v for k, v in fabricated.summary(0).items() if k.endswith("mean")}
    for stage in STAGES:
        path = tmp_path / "seed_0" / stage / "fixed_points.json"
        path.write_text(json.dumps(mean))
    section = dynamics.fixed_points_section(read_experiment(tmp_path))
    assert "averaged |" not in section
    assert len(table(section, "| stage | held input")[0]) == 7


def test_many_held_inputs_are_cut_and_said(tmp_path):
    fabricate(tmp_path, stages=["free"], seeds=(0,))
    one = fabricated.summary(0)["cue 1, coherence 0; mean"]
    path = tmp_path / "seed_0/free/fixed_points.json"
    path.write_text(json.dumps({f"moment {i}; mean": one for i in range(45)}))
    section = dynamics.fixed_points_section(read_experiment(tmp_path))
    assert len(table(section, "| stage | held input")) == dynamics.MOST_HELD
    assert section.endswith("5 more rows are in the stages' fixed_points.json.")


def write_rules(workdir):
    for seed in (0, 1):
        write(
            write_stage(workdir, seed, "yang", classes=[]),
            behaviour=fabricated.rules(seed),
            task_variance=fabricated.variance(),
        )
    return workdir


def test_rules_one_by_one(tmp_path):
    section = dynamics.rules_section(read_experiment(write_rules(tmp_path)))
    rows = table(section, "| rule |")
    assert [row[0] for row in rows] == [*fabricated.RULES, "**mean**", "**least**"]
    assert [row[1] for row in rows] == [
        *("100.0 ± 0.0", pair(50, 60, ".1f"), "0.0 ± 0.0"),
        *(pair(50, 160 / 3, ".1f"), "0.0 ± 0.0"),
    ]
    assert "7 of 8 units vary in some rule" in section
    assert "3 clusters (mean silhouette 0.75 ± 0.00)" in section


def test_stages_that_left_nothing_have_no_sections(tmp_path):
    write_stage(tmp_path, 0, "free")
    experiment = read_experiment(tmp_path)
    results, *others = (section(experiment) for section in fabricated.SYSTEM.sections)
    assert results.startswith("## Results")
    assert others == [""] * 4
    write_report(tmp_path)
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"correct", "learning_correct", "learning_loss"}


def test_another_system_has_no_results_of_this_one(tmp_path):
    path = write_stage(tmp_path, 0, "free") / "results.json"
    at = {"epoch": 1, "step": 1, "test": {"accuracy": 0.9}}
    edit(path, checkpoints={"last": at, "best": at})
    assert behaviour.results_section(read_experiment(tmp_path)) == ""


def test_a_damaged_file_is_named(tmp_path):
    path = fabricate(tmp_path) / "seed_1/free/network.npz"
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match=re.escape(str(path))):
        left(read_experiment(tmp_path), "network.npz")


def test_the_report_end_to_end(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    text = write_report(tmp_path).read_text()
    headings = re.findall("^## (.*)$", text, re.MULTILINE)
    assert headings[1:5] == ["Results", "Behaviour", "Constraints", "Fixed points"]
    expected = {
        *("psychometric", "chronometric", "trajectories", "rates", "decoding"),
        *("weights", "time_constants"),
    }
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert expected < drawn
    assert {"rules", "task_variance"}.isdisjoint(drawn)
    for name in expected:
        assert f"](figures/{name}.png)" in text
        width, height = png_size(tmp_path / f"figures/{name}.png")
        assert min(width, height) > 350


def test_the_report_of_rules(tmp_path):
    text = write_report(write_rules(tmp_path)).read_text()
    assert "0 classes" not in text
    for name in ("rules", "task_variance"):
        assert min(png_size(tmp_path / f"figures/{name}.png")) > 250


def test_gaps_do_not_stop_the_report(tmp_path):
    fabricate(tmp_path)
    for name in ("census.json", "trajectories.npz", "psychometrics.json"):
        (tmp_path / "seed_0/sparse" / name).unlink()
    for name in ("behaviour.npz", "fixed_points.npz", "decoding.npz"):
        (tmp_path / "seed_1/sparse" / name).unlink()
    (tmp_path / "seed_1/free/results.json").unlink()
    experiment = read_experiment(tmp_path)
    text = "".join(section(experiment) for section in fabricated.SYSTEM.sections)
    assert "nan" not in text
    rows = table(text, "| stage | against")  # curves have no seed in common
    assert [row[2] for row in rows] == ["correct (points)"]
    assert first(experiment, "trajectories.npz")[1].run.seed == 1
    curves.draw(experiment, lambda name, _: tmp_path / f"{name}.png")
    assert min(png_size(tmp_path / "psychometric.png")) > 350


def test_states_of_another_size_than_the_rates_are_not_projected(tmp_path):
    fabricate(tmp_path, stages=["free"], seeds=(0,))
    folder = tmp_path / "seed_0/free"
    points = fabricated.points(0)
    points["state"] = np.tile(points["state"], (1, 2))  # an LSTM's
    write(folder, fixed_points=points)
    known = paths.paths(first(read_experiment(tmp_path), "trajectories.npz")[0])
    path = tmp_path / "drawn.png"
    activity.trajectories(read_experiment(tmp_path), [known], path)
    assert min(png_size(path)) > 350


def test_paths_are_cut_to_steps_that_most_trials_have(tmp_path):
    fabricate(tmp_path, stages=["free"], seeds=(0,))
    known = paths.paths(first(read_experiment(tmp_path), "trajectories.npz")[0])
    # the first step is NaN; with the onset at step 10 all others lie in the trial
    assert known.ms.tolist() == [20.0 * k for k in range(-9, 10)]
    behaviour_file = fabricated.behaviour(0)
    late = np.where(np.arange(40) < 22, 15, 10).astype(np.int32)
    write(tmp_path / "seed_0/free", behaviour=behaviour_file | {"onset": late})
    known = paths.paths(first(read_experiment(tmp_path), "trajectories.npz")[0])
    assert known.ms[-1] == 20.0 * 4  # only 18 of 40 trials go on after that
    assert known.colour == "coherence"
    assert known.panels[0] == "cue"
    assert np.sign(known.toward).tolist() == [-1, -1, 1, 1, 1, 1, -1, -1]


def test_a_population_is_its_members(tmp_path):
    for name in ("plain", "costly"):
        write_stage(tmp_path, 0, name)
    population = {"name": ["plain", "costly"], "losses": {"x": {"weight": [0, 1]}}}
    config = {"seeds": [0], "stages": {"ctrnn": {}}, "population": population}
    (tmp_path / "config.json").write_text(json.dumps(config))
    experiment = read_experiment(tmp_path)
    assert set(experiment.stages) == {"plain", "costly"}
    assert gaps(experiment) == {}
    assert len(stage_runs(experiment, "plain")) == 1

"""The report on networks of cognitive tasks: its sections and its figures."""

from kdjax.tasks.cognitive.report import activity, curves, network
from kdjax.tasks.cognitive.report.behaviour import behaviour_section, results_section
from kdjax.tasks.cognitive.report.constraint_table import constraint_section
from kdjax.tasks.cognitive.report.dynamics import fixed_points_section, rules_section

SECTIONS = (
    results_section,
    behaviour_section,
    constraint_section,
    fixed_points_section,
    rules_section,
)
FIGURES = (curves.draw, activity.draw, network.draw)

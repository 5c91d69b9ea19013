"""Cognitive tasks: recurrent networks trained on trials, and their dynamics."""

from kdjax.tasks.cognitive import analysis, metrics, report, task
from kdjax.tasks.system import System

SYSTEM = System(
    tasks={"cognitive": task.make},
    predictors={"cognitive": task.predictor},
    examples={"cognitive": task.raw_trials},
    metrics=metrics.METRICS,
    sections=report.SECTIONS,
    figures=report.FIGURES,
    artefacts=analysis.ARTEFACTS,
)

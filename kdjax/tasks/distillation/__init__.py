"""Distillation: classifiers, taught by labels or by a teacher."""

from kdjax.tasks.distillation import distill, evaluation, report
from kdjax.tasks.system import System

SYSTEM = System(
    tasks={"distill": distill.make},
    predictors={"distill": distill.predictor},
    metrics=evaluation.METRICS,
    sections=report.SECTIONS,
    figures=report.FIGURES,
    artefacts=report.ARTEFACTS,
)

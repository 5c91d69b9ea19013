"""Distillation: classifiers, taught by labels or by a teacher."""

from kdjax.tasks.distillation import distill, report
from kdjax.tasks.system import System
from kdjax.training.metrics import CLASSIFICATION

SYSTEM = System(
    tasks={"distill": distill.make},
    predictors={"distill": distill.predictor},
    metrics=CLASSIFICATION,
    figures=report.FIGURES,
    artefacts=report.ARTEFACTS,
)

"""Distillation: classifiers, taught by labels or by a teacher; and a baseline."""

from kdjax.tasks.distillation import distill, evaluation, minirocket, report
from kdjax.tasks.system import System

SYSTEM = System(
    tasks={"distill": distill.make, "minirocket": minirocket.make},
    predictors={"distill": distill.predictor, "minirocket": minirocket.predictor},
    metrics=evaluation.METRICS,
    sections=report.SECTIONS,
    figures=report.FIGURES,
    artefacts=report.ARTEFACTS
    | {minirocket.CHOSEN: "what was chosen in fitting MiniRocket's classifier"},
)

"""Contrastive learning: SimCLR, and what its representations are good for."""

from kdjax.tasks.contrastive import metrics, probes, report, simclr
from kdjax.tasks.system import System
from kdjax.training.metrics import CLASSIFICATION

SYSTEM = System(
    tasks={"probe": probes.make, "simclr": simclr.make},
    predictors={"probe": probes.predictor, "simclr": simclr.predictor},
    metrics=CLASSIFICATION | metrics.METRICS,
    sections=report.SECTIONS,
    figures=report.FIGURES,
    artefacts=probes.ARTEFACTS,
)

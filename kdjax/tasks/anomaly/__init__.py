"""Anomaly detection: networks that learn normal examples and score all others."""

from kdjax.tasks.anomaly import (
    autoencoder,
    baselines,
    beatgan,
    curves,
    metrics,
    own_median,
    report,
    scoring,
)
from kdjax.tasks.system import System

SYSTEM = System(
    tasks={
        "autoencoder": autoencoder.make,
        "beatgan": beatgan.make,
        "detector": baselines.make,
        "own_median": own_median.make,
    },
    predictors={
        "autoencoder": autoencoder.predictor,
        "beatgan": beatgan.predictor,
        "own_median": own_median.predictor,
    },
    metrics=metrics.METRICS,
    sections=report.SECTIONS,
    figures=curves.FIGURES,
    artefacts=scoring.ARTEFACTS,
)

"""Anomaly detection: networks that learn normal examples and score all others."""

from kdjax.tasks.anomaly import (
    autoencoder,
    baselines,
    beatgan,
    curves,
    metrics,
    report,
    scoring,
)
from kdjax.tasks.system import System

SYSTEM = System(
    tasks={
        "autoencoder": autoencoder.make,
        "beatgan": beatgan.make,
        "detector": baselines.make,
    },
    predictors={
        "autoencoder": autoencoder.predictor,
        "beatgan": beatgan.predictor,
    },
    metrics=metrics.METRICS,
    sections=report.SECTIONS,
    figures=curves.FIGURES,
    artefacts=scoring.ARTEFACTS,
)

"""Anomaly detection: networks that learn normal examples and score all others."""

from kdjax.tasks.anomaly import (
    autoencoder,
    baselines,
    beatgan,
    curves,
    ensemble,
    metrics,
    own_median,
    regressor,
    report,
    scoring,
)
from kdjax.tasks.system import System

SYSTEM = System(
    tasks={
        "autoencoder": autoencoder.make,
        "beatgan": beatgan.make,
        "detector": baselines.make,
        "ensemble": ensemble.make,
        "own_median": own_median.make,
        "regressor": regressor.make,
    },
    predictors={
        "autoencoder": autoencoder.predictor,
        "beatgan": beatgan.predictor,
        "own_median": own_median.predictor,
        "regressor": regressor.predictor,
    },
    examples={"regressor": regressor.examples},
    metrics=metrics.METRICS,
    sections=report.SECTIONS,
    figures=curves.FIGURES,
    artefacts=scoring.ARTEFACTS,
)

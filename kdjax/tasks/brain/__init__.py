"""The brain as a teacher: classes decoded from responses, and their soft labels."""

from kdjax.tasks.brain import decode, report
from kdjax.tasks.system import System

SYSTEM = System(
    tasks={"decode": decode.make},
    predictors={},
    metrics=decode.METRICS,
    sections=report.SECTIONS,
    artefacts=decode.ARTEFACTS,
)

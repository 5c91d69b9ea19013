"""The brain as a teacher: classes decoded from responses, and their soft labels."""

from kdjax.tasks.brain import decode, predicted, rdm, report, similarity, votes
from kdjax.tasks.system import System

SYSTEM = System(
    tasks={
        "decode": decode.make,
        "rdm": rdm.make,
        "similarity": similarity.make,
        "votes": votes.make,
    },
    predictors={},
    metrics=predicted.METRICS | similarity.METRICS,
    sections=report.SECTIONS,
    figures=report.FIGURES,
    artefacts=decode.ARTEFACTS | rdm.ARTEFACTS,
)

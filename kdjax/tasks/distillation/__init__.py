"""Distillation: classifiers, taught by labels or by a teacher."""

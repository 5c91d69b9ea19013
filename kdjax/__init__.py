"""Knowledge distillation in JAX/Flax: losses, models and compiled experiments."""

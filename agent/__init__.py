"""Weir: a Flux-compatible GitOps agent for machine-learning serving."""

__version__ = "0.1.0"

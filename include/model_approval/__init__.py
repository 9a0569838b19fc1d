"""Promote machine-learning models to production through checks, human review and an audited deployment."""

__version__ = "0.1.0"

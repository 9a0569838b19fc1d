"""Twins of the adapters that live in memory: real code, held to the same contract tests as the real ones."""

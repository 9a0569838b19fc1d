"""Measures how fast a model answers, beside the champion, on the machine it would serve on.

The validator's own process keeps the clock; each model runs in a process of its own and is asked over a pipe, so a
model can neither read nor bend the measurement.
"""

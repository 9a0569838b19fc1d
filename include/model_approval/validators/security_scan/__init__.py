"""Reads every file of an artifact without loading it, and says what could run code or could not be looked into.

One module a family of formats, each a `Scanner`; `validator.py` walks the files, `scan.py` holds budget and results.
"""

"""What runs models: one module a runtime, behind one small interface (`contract.py`).

Opening a model reads untrusted bytes, and some kinds run the artifact's code: only a confined process may do it.
"""

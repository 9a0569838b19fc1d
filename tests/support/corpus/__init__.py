"""Generated model files to hold the security scan to: inert malicious ones, and honest ones of the real libraries.

`python -m tests.support.corpus {malicious,honest} FOLDER` writes one subfolder a sample and `index.json` beside them.
The malicious ones are written by the validators' interpreter, which has the libraries of the formats; nothing is ever
loaded, and what would run if someone did is `true` or an expression without effect. The honest ones are written by the
interpreter of `.venv-samples`, where the libraries live that people save models with.
"""

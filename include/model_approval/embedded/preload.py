"""What every task process would import for itself, imported once: Airflow's LocalExecutor forks its workers from here.

Importing only: no connection is opened, no file is read, no thread is started that a fork would lose.
"""

import importlib
import logging

# Its decorators say at level INFO, hundreds of times, that they register nothing.
logging.getLogger("great_expectations._docs_decorators").setLevel(logging.WARNING)

for _name in (
    "boto3",
    "great_expectations",
    "mlflow",
    "model_approval.adapters.s3_audit",
    "model_approval.adapters.sql.reviews",
    "model_approval.wiring",
    "securesystemslib.signer",
):
    importlib.import_module(_name)

"""What every task process would import for itself, imported once: Airflow's LocalExecutor forks its workers from here.

Other people's libraries only, so that edited code of ours is what the next task runs. Importing them opens no
connection and starts no thread that a fork would lose.
"""

import importlib
import logging

# Its decorators say at level INFO, hundreds of times, that they register nothing.
logging.getLogger("great_expectations._docs_decorators").setLevel(logging.WARNING)

for _name in (
    "boto3",
    "great_expectations",
    "mlflow",
    "securesystemslib.signer",
    "sqlalchemy.orm",
):
    importlib.import_module(_name)

#!/bin/bash
# The job `airflow-init`: everything that must be there before a service starts. Safe to repeat; runs at each `up`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

airflow db migrate
model-approval init
python airflow_setup.py

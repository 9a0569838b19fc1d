#!/bin/bash
# The job `airflow-init`: everything that must be there before a service starts. Safe to repeat; runs at each `up`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

airflow db migrate
model-approval init
python people.py
# One slot, so that two benchmarks never measure each other; deferred tasks count, because the pods run meanwhile.
airflow pools set gpu 1 "benchmarks, one at a time" --include-deferred

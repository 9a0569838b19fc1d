#!/bin/bash
# Run once by PostgreSQL's entry point, on an empty volume: a role and a database of its own for each program, closed to
# the others. The review database must not fall with Airflow's.
set -euo pipefail

for name in airflow reviews mlflow; do
  password="${name^^}_DATABASE_PASSWORD"
  psql --set ON_ERROR_STOP=1 --set name="$name" --set password="${!password}" --username "${POSTGRES_USER:-postgres}" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done

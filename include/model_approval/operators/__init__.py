"""The only folder that imports Airflow: sensor, check and approval operators, triggers, thin task wrappers.

Operators hold no rules. They read the run's id (which is the promotion request's id), call one stage, and say what
came of it. Stages and adapters are imported when a task runs, so that parsing a DAG file stays quick.
"""

"""A DAG that exists only while configuration files are wrong: its name and text say which, in the DAG list."""

from __future__ import annotations

from airflow.sdk import DAG


def policy_problems_dag(problems: list[str]) -> DAG:
    """A DAG without tasks whose documentation lists each problem as `file:line: field: what is wrong`."""
    lines = "\n".join(f"- `{problem}`" for problem in problems)
    return DAG(
        dag_id="policy_problems",
        dag_display_name=f"{len(problems)} policy file problem(s): read the docs of this DAG",
        description=problems[0][:200],
        doc_md=f"These files were not loaded; all others were.\n\n{lines}",
        schedule=None,
        tags=["model-approval", "problem"],
    )

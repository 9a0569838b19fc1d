"""The catalog: good files load whatever stands beside them; policies that name something unusable say so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_approval.domain.errors import NotFoundError, RequestRefusedError
from model_approval.policy.catalog import FileCatalog
from tests.support.builders import a_registered_version

pytestmark = pytest.mark.unit

SHIPPED = Path(__file__).parents[3] / "include"
POLICY = """\
schema: model-approval/policy/v1
name: {name}
title: A policy
owner: risk-ml
match: {{registry: mlflow, models: ["{models}"], environment: production}}
checks:
  - name: gpu_benchmark
    validator: gpu_benchmark
    resources: {{gpu: {gpu}}}
    rules:
      - id: performance.latency-p99
        title: p99 latency
        limit: {{metric: latency_p99, unit: ms, maximum: 50}}
review:
  committee: {committee}
  quorum:
    - {{role: {role}, votes: {votes}}}
deployment: {{target: {target}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the shipped committees and targets, and no policy."""
    for folder in ("committees", "targets"):
        shutil.copytree(SHIPPED / folder, tmp_path / folder)
    (tmp_path / "policies").mkdir()
    return tmp_path


def write_policy(config: Path, name: str = "fraud", **changes: object) -> None:
    fields = {
        "name": name,
        "models": "fraud-*",
        "gpu": 0,
        "committee": "model-risk",
        "role": "security",
        "votes": 1,
        "target": "local",
    }
    (config / "policies" / f"{name}.yaml").write_text(POLICY.format(**{**fields, **changes}), encoding="utf-8")


def write_committee(config: Path, **members: list[str]) -> None:
    roles = "".join(f"  {role}: {{title: {role}, members: {people}}}\n" for role, people in members.items())
    text = f"schema: model-approval/committee/v1\nname: model-risk\ntitle: Model risk\nroles:\n{roles}"
    (config / "committees" / "model-risk.yaml").write_text(text, encoding="utf-8")


def test_what_we_ship_has_no_problem_and_no_doubt():
    catalog = FileCatalog(SHIPPED)
    assert catalog.problems() == []
    assert catalog.lint() == []
    assert [frozen.policy.name for frozen in catalog.all()] == [
        "fraud-scoring",
        "fraud-scoring-kubernetes",
        "s3-registry-models",
    ]


def test_a_policy_comes_with_its_committee_and_target(config):
    write_policy(config)
    (frozen,) = FileCatalog(config).all()
    assert (frozen.committee.name, frozen.target.name) == ("model-risk", "local")


def test_a_bad_file_takes_down_only_itself(config):
    write_policy(config, "good")
    (config / "policies" / "bad.yaml").write_text("schema: [", encoding="utf-8")
    (config / "policies" / "typo.yaml").write_text("schema: model-approval/policy/v1\nnam: x\n", encoding="utf-8")
    catalog = FileCatalog(config)
    assert [frozen.policy.name for frozen in catalog.all()] == ["good"]
    assert catalog.problems()[0].startswith("policies/bad.yaml:1: is not valid YAML")
    assert "policies/typo.yaml:2: nam: is not a known key (did you mean 'name'?)" in catalog.problems()


def test_a_bad_committee_takes_down_only_the_policies_that_name_it(config):
    other = (config / "committees" / "model-risk.yaml").read_text("utf-8").replace("name: model-risk", "name: other")
    (config / "committees" / "other.yaml").write_text(other, encoding="utf-8")
    (config / "committees" / "model-risk.yaml").write_text("name: model-risk\n", encoding="utf-8")
    write_policy(config, "broken")
    write_policy(config, "sound", committee="other")
    catalog = FileCatalog(config)
    assert [frozen.policy.name for frozen in catalog.all()] == ["sound"]
    assert (
        "policies/broken.yaml:15: review.committee: there is no usable committee 'model-risk' (usable: other)"
        in catalog.problems()
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"committee": "nobody"},
            "policies/fraud.yaml:15: review.committee: there is no usable committee 'nobody' (usable: model-risk)",
        ),
        (
            {"target": "moon"},
            "policies/fraud.yaml:18: deployment.target: there is no usable target 'moon' (usable: cluster, local)",
        ),
        (
            {"role": "legal"},
            "policies/fraud.yaml:17: review.quorum[0].role: the committee model-risk has no role 'legal' "
            "(its roles: ml-manager, risk, security)",
        ),
        (
            {"votes": 2},
            "policies/fraud.yaml:17: review.quorum[0].votes: asks 2 votes of 1 people "
            "(members: ana; add some, or ask for fewer votes)",
        ),
        (
            {"gpu": 1},
            "policies/fraud.yaml:9: checks[0].resources.gpu: the local target local schedules no GPU "
            "(remove `gpu`, or choose a kubernetes target)",
        ),
        (
            {"target": "cluster"},
            "policies/fraud.yaml:7: checks[0]: a benchmark without GPU that may not run on a CPU never passes "
            "(give `resources: {gpu: 1}`, or `allow_cpu: true` for figures labelled as a CPU's)",
        ),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_a_policy_that_could_never_be_fulfilled_is_not_used_and_says_why(config, changes, problem):
    write_policy(config, **changes)
    catalog = FileCatalog(config)
    assert catalog.all() == []
    assert catalog.problems() == [problem]


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ("{licence: [MIT]}", "parameters.licence: Extra inputs are not permitted"),
        ("{signature: {required: true}}", "parameters.signature: Value error, a required signature needs keys"),
        ("{signature: {keys: [abc]}}", "parameters.signature.keys[0]: String should match pattern"),
        ("{max_database_age_days: 0}", "parameters.max_database_age_days: Input should be greater than"),
    ],
)
def test_a_mistake_in_the_parameters_of_a_scan_is_told_before_the_first_scan(config, parameters, problem):
    write_policy(config)
    path = config / "policies" / "fraud.yaml"
    rules = "rules: [{id: scan.full, title: All, coverage: every_file}]"
    scan = f"  - {{name: scan, validator: security_scan, parameters: {parameters}, {rules}}}\nreview:"
    path.write_text(path.read_text().replace("review:", scan))
    (found,) = FileCatalog(config).problems()
    assert found.startswith(f"policies/fraud.yaml:14: checks[1].{problem}")


@pytest.mark.governance
def test_a_role_without_members_cannot_be_asked(config):
    write_committee(config, security=[])
    write_policy(config)
    (problem,) = FileCatalog(config).problems()
    assert "the role 'security' of model-risk has no members" in problem


@pytest.mark.governance
def test_a_role_that_may_not_vote_cannot_be_asked(config):
    path = config / "committees" / "model-risk.yaml"
    path.write_text(path.read_text("utf-8").replace("[vote, waive, expedite]", "[waive]"), encoding="utf-8")
    write_policy(config, role="ml-manager")
    (problem,) = FileCatalog(config).problems()
    assert "the role 'ml-manager' of model-risk may not vote" in problem


@pytest.mark.governance
def test_one_person_in_two_roles_is_not_two_people(config):
    write_committee(config, security=["ana"], risk=["ana"])
    write_policy(config)
    path = config / "policies" / "fraud.yaml"
    text = path.read_text("utf-8").replace("deployment:", "    - {role: risk, votes: 1}\ndeployment:")
    path.write_text(text, encoding="utf-8")
    (problem,) = FileCatalog(config).problems()
    assert problem.startswith("policies/fraud.yaml:16: review.quorum: too few different people for risk")


def test_two_files_of_one_name_are_both_left_out(config):
    write_policy(config, "one")
    text = (config / "policies" / "one.yaml").read_text("utf-8")
    (config / "policies" / "two.yaml").write_text(text, encoding="utf-8")
    catalog = FileCatalog(config)
    assert catalog.all() == []
    assert catalog.problems() == [
        "policies/two.yaml:2: name: 'one' is the name in policies/one.yaml too; both are left out "
        "(give each its own name)"
    ]


def test_a_missing_folder_is_a_problem_and_no_crash(tmp_path):
    catalog = FileCatalog(tmp_path)
    assert catalog.all() == []
    assert [problem.split(":")[0] for problem in catalog.problems()] == ["committees", "policies", "targets"]


def test_the_policy_of_a_version_is_found(config):
    write_policy(config)
    assert FileCatalog(config).for_version(a_registered_version(), "production").policy.name == "fraud"


@pytest.mark.parametrize(
    ("version", "environment"),
    [
        (a_registered_version(registry="s3"), "production"),
        (a_registered_version(model="churn-scorer"), "production"),
        (a_registered_version(model="Fraud-scorer"), "production"),
        (a_registered_version(), "staging"),
    ],
)
def test_a_version_without_policy_is_refused_with_what_is_known(config, version, environment):
    write_policy(config)
    with pytest.raises(RequestRefusedError, match="no policy governs") as caught:
        FileCatalog(config).for_version(version, environment)
    assert caught.value.hint == "known: mlflow/fraud-* to production"


def test_a_refusal_mentions_files_that_did_not_load(config):
    (config / "policies" / "bad.yaml").write_text("[", encoding="utf-8")
    with pytest.raises(RequestRefusedError, match="1 mistakes keep others from being used"):
        FileCatalog(config).for_version(a_registered_version(), "production")


def test_a_version_with_two_policies_is_refused(config):
    write_policy(config, "one")
    write_policy(config, "two", models="*-scorer")
    with pytest.raises(RequestRefusedError, match="one and two all govern mlflow/fraud-scorer to production"):
        FileCatalog(config).for_version(a_registered_version(), "production")


@pytest.mark.parametrize(
    ("left", "right", "meet"),
    [
        ("fraud-*", "fraud-*", True),
        ("fraud-*", "*-eu", True),
        ("fraud-*", "fraud-scorer", True),
        ("*", "anything", True),
        ("a?c", "ab*", True),
        ("[ab]c", "ac", True),
        ("fraud-*", "churn-*", False),
        ("a", "b", False),
        ("a?", "a", False),
        ("*-eu", "*-us", False),
    ],
)
def test_policies_that_could_meet_on_a_model_are_pointed_out(config, left, right, meet):
    write_policy(config, "one", models=left)
    write_policy(config, "two", models=right)
    found = FileCatalog(config).lint()
    assert bool(found) == meet
    assert all("policies one and two can govern the same model" in warning for warning in found)


def test_a_policy_is_found_by_name_and_others_are_named_if_not(config):
    write_policy(config)
    catalog = FileCatalog(config)
    assert catalog.by_name("fraud").policy.name == "fraud"
    with pytest.raises(NotFoundError, match="there is no policy 'fruad'") as caught:
        catalog.by_name("fruad")
    assert "usable policies: fraud" in caught.value.hint


def test_a_catalog_keeps_what_it_read(config):
    write_policy(config)
    catalog = FileCatalog(config)
    before = catalog.all()
    write_policy(config, title="Another")
    assert catalog.all() == before


def test_reading_the_catalog_imports_nothing_heavy():
    script = (
        "import sys; from pathlib import Path; from model_approval.policy.catalog import FileCatalog\n"
        f"FileCatalog(Path({str(SHIPPED)!r})).all()\n"
        "heavy = {'airflow', 'boto3', 'kubernetes', 'mlflow', 'great_expectations', 'onnx', 'onnxruntime', 'numpy',"
        " 'pandas', 'sqlalchemy', 'requests', 'httpx', 'jsonschema'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

"""A real Airflow API server with our plugin, for browser and contract tests.

    airflow_home    a migrated metadata database and the environment that every Airflow program of the test gets
    airflow_site    its API server over real stores, with the people of the embedded stack able to sign in

No scheduler runs: requests are seeded through the real stages, runs through `add_run`. The people may sign in as
the embedded stack's do, and the policy is that of `tests.support.builders`, on the bucket registry.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from model_approval.domain.digests import canonical_json
from model_approval.domain.promotion import Promotion
from model_approval.embedded.airflow_services import airflow_environment, migrate_command
from model_approval.embedded.credentials import StackSecrets, load_secrets
from model_approval.embedded.layout import REPOSITORY, Layout
from model_approval.ports import Services
from model_approval.settings import Settings
from model_approval.stages.intake import intake
from model_approval.stages.request import accept_tagged
from model_approval.stages.validation import begin_check, evaluate, finish_check
from model_approval.wiring import initialise, make_services
from tests.support.builders import a_committee, a_policy, a_target, an_evidence
from tests.support.servers import REGISTRY_BUCKET, free_port, settings_for, wait_until
from tests.support.world import ARTIFACT, IMAGE, PAYLOAD, an_onnx

PREFIX = "/model-review"


@dataclass(frozen=True)
class AirflowHome:
    """One Airflow installation that is not running."""

    layout: Layout
    secrets: StackSecrets
    environment: Mapping[str, str]

    def python(self, script: str) -> str:
        """Run Python in a process of its own with this installation's settings; returns what it printed last.

        Importing Airflow makes a process that installation's for ever, so tests never do it themselves.
        """
        file = self.layout.root / "script.py"  # Airflow keeps the source of a DAG's file, so there must be one
        file.write_text(script)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(file)],
            env={**self.environment, "PYTHONPATH": str(REPOSITORY / "plugins")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    def add_run(self, dag_id: str, run_id: str, *, state: str = "deferred", then: str = "") -> str:
        """Put a run of a DAG into the metadata database, its tasks `review` and `deploy` in this state.

        Args:
            dag_id: The DAG, made with the run.
            run_id: The run.
            state: Of both tasks.
            then: Python to run afterwards in the same process; what it prints last is returned.
        """
        return self.python(f"dag_id, run_id, state = {dag_id!r}, {run_id!r}, {state!r}\n{_ADD_RUN}\n{then}")


_ADD_RUN = """
from datetime import UTC, datetime
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

with DAG(dag_id, schedule=None) as dag:
    EmptyOperator(task_id="review")
    EmptyOperator(task_id="deploy")
with create_session() as session:
    if session.get(DagBundleModel, "bundle-of-the-test") is None:
        session.add(DagBundleModel(name="bundle-of-the-test"))
        session.flush()
    if session.get(DagModel, dag_id) is None:
        session.add(DagModel(dag_id=dag_id, bundle_name="bundle-of-the-test", fileloc=__file__, is_stale=False))
        session.flush()
        lazy = LazyDeserializedDAG.from_dag(dag)
        SerializedDagModel.write_dag(lazy, bundle_name="bundle-of-the-test", session=session)
with create_session() as session:
    run = DagSerialization.from_dict(DagSerialization.to_dict(dag)).create_dagrun(
        run_id=run_id, run_type=DagRunType.MANUAL, run_after=datetime.now(UTC), state=DagRunState.RUNNING,
        triggered_by=DagRunTriggeredByType.TEST, session=session,
    )
    for task in run.get_task_instances(session=session):
        task.state, task.next_method, task.next_kwargs = state, "resume", {}
"""


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory) -> AirflowHome:
    """A migrated metadata database."""
    layout = Layout(tmp_path_factory.mktemp("airflow"))
    layout.make()
    secrets = load_secrets(layout)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        **airflow_environment(layout, secrets, port=free_port()),
    }
    subprocess.run(migrate_command(), env=environment, check=True, capture_output=True, timeout=180)
    return AirflowHome(layout, secrets, environment)


@dataclass
class AirflowSite:
    """A running API server with the review room, and the services behind it."""

    home: AirflowHome
    settings: Settings
    services: Services
    root: str
    """Where Airflow answers, without a slash at the end."""
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _registered: int = 0

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self.home.layout.logs / "api-server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "api-server"],
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until(lambda: self._answers(log), timeout_s=120, what=f"the API server on {self.root} (log: {log})")
        with self.as_("admin") as client:  # the first answer imports the stores' libraries, which takes seconds
            answer = client.get("/api/requests", timeout=120)
        assert answer.status_code == 200, answer.text

    def stop(self) -> None:
        """End it with everything it started."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def password(self, person: str) -> str:
        """What this person signs in with."""
        return self.home.secrets.passwords[person]

    def token(self, person: str) -> str:
        """A bearer token of one person; as the cookie `_token` it is their session."""
        credentials = {"username": person, "password": self.password(person)}
        answer = httpx.post(f"{self.root}/auth/token", json=credentials, trust_env=False, timeout=30)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["access_token"])

    def as_(self, person: str) -> httpx.Client:
        """A program of one person, with a bearer token; its base is the review room. Close it."""
        headers = {"authorization": f"Bearer {self.token(person)}"}
        return httpx.Client(base_url=f"{self.root}{PREFIX}", headers=headers, trust_env=False, timeout=30)

    def in_review(self, *, model: str = "fraud-scorer", p99_ms: float = 41.2, **payload: object) -> Promotion:
        """Take a new version through request, intake and checks, with evidence written as the validators would."""
        self._registered += 1
        promotion = self._request(model, str(self._registered), {**PAYLOAD, **payload})
        promotion = intake(self.services, request_id=promotion.id)
        assert promotion.candidate is not None, promotion.state_reason
        for check in ("security_scan", "gpu_benchmark"):
            self._run_check(promotion, check, p99_ms)
        return evaluate(self.services, request_id=promotion.id)

    def run_again(self, promotion: Promotion, *, p99_ms: float) -> Promotion:
        """Run the benchmark once more with another result: the evidence is another one from now on."""
        self._run_check(promotion, "gpu_benchmark", p99_ms, run=2)
        return evaluate(self.services, request_id=promotion.id)

    def vote(self, person: str, promotion: Promotion) -> None:
        """Approve through the JSON API, as a program of this person."""
        with self.as_(person) as client:
            seen = client.get(f"/api/requests/{promotion.id}").json()["seen"]
            answer = client.post(f"/api/requests/{promotion.id}/votes", json={"choice": "approve", "seen": seen})
        assert answer.status_code == 200, answer.text

    def _request(self, model: str, version: str, payload: dict[str, object]) -> Promotion:
        from model_approval.adapters.s3_client import s3_client

        client = s3_client(self.settings)
        for path, data in {**ARTIFACT, "model.onnx": an_onnx(version)}.items():
            client.put_object(Bucket=REGISTRY_BUCKET, Key=f"{model}/{version}/artifact/{path}", Body=data)
        payload = {**payload, "semantic_version": f"2.{version}.0"}
        self.services.registries["s3"].request(model, version, json.dumps(payload))
        accepted = accept_tagged(self.services, "s3")
        return next(one for one in accepted if (one.request.model, one.request.version) == (model, version))

    def _run_check(self, promotion: Promotion, check: str, p99_ms: float, run: int = 1) -> None:
        job = begin_check(self.services, request_id=promotion.id, check=check, run=run, image_digest=IMAGE)
        covered = [{"path": entry.path, "covered": True} for entry in job.input.manifest.files]
        metric = {"name": "latency_p99", "value": p99_ms, "unit": "ms", "low": p99_ms - 1, "high": p99_ms + 1}
        found = {"coverage": covered} if check == "security_scan" else {"metrics": (metric,)}
        evidence = an_evidence(
            check,
            request_id=promotion.id,
            image_digest=IMAGE,
            artifact_digest=job.input.artifact_digest,
            **found,
        )
        answer = httpx.put(
            job.upload_url, content=canonical_json(evidence), headers={"If-None-Match": "*"}, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        finish_check(self.services, request_id=promotion.id, check=check, run=run, image_digest=IMAGE)

    def _answers(self, log: Path) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, log.read_text()[-4000:]
        try:
            return httpx.get(f"{self.root}/api/v2/version", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


def make_site(home: AirflowHome, settings: Settings, *, prefix: str = "") -> AirflowSite:
    """An API server over these settings, not started; `prefix` is the path that a proxy would put in front."""
    port = free_port()
    # People are led to `localhost`: a bare address is no secure context, where browsers behave otherwise.
    root = f"http://localhost:{port}{prefix}"
    environment = {
        **home.environment,
        **our_environment(settings),
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": root,
    }
    return AirflowSite(home, settings, make_services(settings), root, environment)


def our_environment(settings: Settings) -> dict[str, str]:
    """The variables that give another process these settings."""
    plain = {name: value for name, value in settings if value is not None}
    return {
        f"MODEL_APPROVAL_{name.upper()}": value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        for name, value in plain.items()
    }


def a_config_folder(folder: Path) -> Path:
    """Policy, committee and target of the builders as files; JSON is YAML."""
    policy = a_policy(
        match={"registry": "s3", "models": ("*",), "environment": "production"},
        intake={"versioning": {"source_run": False}},
    )
    for kind, record in (("policies", policy), ("committees", a_committee()), ("targets", a_target())):
        (folder / kind).mkdir(parents=True)
        text = record.model_dump_json(by_alias=True, exclude_none=True, indent=1)
        (folder / kind / f"{record.name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="session")
def airflow_site(tmp_path_factory, airflow_home, s3_store) -> Iterator[AirflowSite]:
    """A running API server; tests share it, so each seeds requests of its own."""
    config = a_config_folder(tmp_path_factory.mktemp("config"))
    settings = settings_for(s3_store, home=tmp_path_factory.mktemp("reviews"), config_dir=config)
    initialise(settings)
    site = make_site(airflow_home, settings)
    try:
        site.start()
        yield site
    finally:
        site.stop()

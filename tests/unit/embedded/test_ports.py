"""Ports: free ones are found, taken ones are named with who has them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded.layout import HOST
from model_approval.embedded.ports import claim, holder_of, is_free, wait_free

pytestmark = pytest.mark.integration


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        yield listening


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def test_a_free_port_is_the_one_that_was_asked_for(listener):
    port = port_of(listener)
    listener.close()

    assert claim(port, program="Airflow", flag="--airflow-port") == port


def test_zero_takes_any_free_port():
    port = claim(0, program="Airflow", flag="--airflow-port")

    assert port > 0
    assert is_free(port)


def test_a_taken_port_names_its_holder_and_how_to_choose_another(listener):
    port = port_of(listener)

    with pytest.raises(OutsideSystemError) as refused:
        claim(port, program="MLflow", flag="--mlflow-port")

    said = str(refused.value)
    assert f"port {port} is taken by" in said
    assert f"(pid {os.getpid()})" in said
    assert "--mlflow-port" in said


def test_the_holder_of_a_free_port_is_nobody(listener):
    port = port_of(listener)
    listener.close()

    assert holder_of(port) == ""


def test_waiting_ends_at_once_when_ports_are_free_and_names_those_that_are_not(listener):
    assert wait_free([], timeout_s=60.0) == []
    assert wait_free([port_of(listener)], timeout_s=0.2) == [port_of(listener)]

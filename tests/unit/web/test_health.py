import threading

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from sidestream.errors import LogUnavailable
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.health import answer_health


def test_a_process_that_is_up_says_so() -> None:
    with TestClient(new_app("x", Settings())) as client:
        assert client.get("/healthz").json() == {"status": "up"}


def test_an_app_is_ready_when_every_check_returns() -> None:
    with TestClient(new_app("x", Settings(), checks={"log": lambda: None, "store": lambda: True})) as client:
        assert client.get("/readyz").json() == {"status": "ready", "checks": ["log", "store"]}


def test_an_app_is_not_ready_while_one_check_raises() -> None:
    def check() -> None:
        raise LogUnavailable("redis at 127.0.0.1:1: refused")

    with TestClient(new_app("x", Settings(), checks={"log": check, "store": lambda: None})) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"] == {"log": "redis at 127.0.0.1:1: refused"}
        assert client.get("/healthz").status_code == 200


def test_a_check_that_does_not_return_is_not_waited_for() -> None:
    hanging = threading.Event()
    app = FastAPI()
    answer_health(app, {"log": lambda: hanging.wait(10)}, CollectorRegistry(), seconds=0.05)
    with TestClient(app) as client:
        answer = client.get("/readyz")
        hanging.set()
    assert (answer.status_code, answer.json()["checks"]) == (503, {"log": "no answer within 0.05 s"})

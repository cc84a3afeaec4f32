"""A broker that asks who logs in: the launcher, the sidecars, the readers and the doctor do it as the component says, and nobody tells."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidestream.launcher.problem import CannotStart
from tests.door import tls_in_front_of
from tests.integration.protected import (
    BY_PASSWORD,
    BY_USER,
    PASSWORD,
    USER,
    USERS_PASSWORD,
    ProtectedValkey,
    asking,
    counted_and_rung,
    plain,
    protected_valkey,
    secret,
    system_on,
)
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedValkey]:
    with protected_valkey(tmp_path_factory.mktemp("protected") / "valkey") as running:
        yield running


# ── who logs in ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_everyone_logs_in_with_the_password_of_the_component(valkey: ProtectedValkey, tmp_path: Path) -> None:
    async with system_on(valkey.address, tmp_path, BY_PASSWORD) as system:
        await counted_and_rung(system)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("wrong-word", r"no usable redis at 127.0.0.1:\d+: .*invalid username-password pair.*or who logs in"),
        ("", "expected the secret 'redisPassword'"),
    ],
    ids=["wrong", "missing"],
)
async def test_a_login_that_is_refused_is_one_sentence_without_the_password(
    valkey: ProtectedValkey, tmp_path: Path, password: str, said: str
) -> None:
    with pytest.raises(CannotStart, match=said) as refused:
        async with system_on(valkey.address, tmp_path, BY_PASSWORD, password):
            pytest.fail("it started")
    assert not password or password not in str(refused.value)


async def test_a_broker_that_asks_for_a_login_and_gets_none_is_refused(valkey: ProtectedValkey, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="NOAUTH|Authentication required"):
        async with system_on(valkey.address, tmp_path, []):
            pytest.fail("it started")


async def test_a_user_that_may_not_ask_how_the_broker_keeps_events_is_told_what_to_allow(valkey: ProtectedValkey, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"expected it to say whether it keeps what it confirms.*\+config\|get"):
        async with system_on(valkey.address, tmp_path / "refused", BY_USER, USERS_PASSWORD):
            pytest.fail("it started")
    async with system_on(valkey.address, tmp_path / "taken", BY_USER, USERS_PASSWORD, unsafe=True) as system:
        await counted_and_rung(system)


async def test_a_user_that_may_ask_logs_in_by_name(valkey: ProtectedValkey, tmp_path: Path) -> None:
    with asking(valkey.port) as client:
        client.execute_command("ACL", "SETUSER", USER, "+config|get")
        try:
            async with system_on(valkey.address, tmp_path, BY_USER, USERS_PASSWORD) as system:
                await counted_and_rung(system)
        finally:
            client.execute_command("ACL", "SETUSER", USER, "-config|get")


async def test_an_address_with_a_login_in_it_is_refused_unseen(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="expected host:port, found a login in it.*redisPassword") as refused:
        async with system_on(f"{PASSWORD}@127.0.0.1:1", tmp_path, BY_PASSWORD):
            pytest.fail("it started")
    assert PASSWORD not in str(refused.value)


async def test_a_component_that_says_its_address_and_has_its_password_from_the_environment(
    valkey: ProtectedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_BROKERS_PASSWORD", PASSWORD)
    items = [plain("redisHost", valkey.address), secret("redisPassword", "OUR_BROKERS_PASSWORD")]
    store = {"type": "secretstores.local.env", "version": "v1", "metadata": []}
    async with system_on("", tmp_path, items, "", store=store) as system:
        assert system.broker_address == valkey.address
        assert not system.folder.broker.exists(), "no broker of our own is started beside it"
        await counted_and_rung(system)


async def test_two_addresses_that_contradict_each_other_are_refused(valkey: ProtectedValkey, tmp_path: Path) -> None:
    items = [plain("redisHost", valkey.address), *BY_PASSWORD]
    with pytest.raises(CannotStart, match="found another in SIDESTREAM_BROKER"):
        async with system_on("127.0.0.1:1", tmp_path, items):
            pytest.fail("it started")


# ── the doctor ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def examined(folder: Path, valkey: ProtectedValkey, code: int) -> dict[str, dict[str, Any]]:
    """Ask the doctor, as somebody types it beside the system of the folder; return what it found by code."""
    told = {"PYTHONPATH": str(REPOSITORY), "SIDESTREAM_TOKENS": "on", "SIDESTREAM_BROKER": valkey.address}
    words = ("--json", "-f", str(folder / "dapr.yaml"), "--data", str(folder / "system"))
    ended = await sidestream("doctor", *words, code=code, **told)
    assert PASSWORD not in ended.out + ended.err
    return {each["code"]: each for each in json.loads(ended.out)["findings"]}


async def test_the_doctor_logs_in_and_shows_each_sidecar_its_token(valkey: ProtectedValkey, tmp_path: Path) -> None:
    async with system_on(valkey.address, tmp_path, BY_PASSWORD) as system:
        assert await examined(tmp_path, valkey, code=0) == {}

        with asking(valkey.port) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            try:
                found = await examined(tmp_path, valkey, code=1)
            finally:
                client.config_set("maxmemory-policy", "noeviction")
        assert list(found) == ["SD602"]

        token = system.folder.tokens / "votes" / "DAPR_API_TOKEN"
        token.write_text("another")
        assert "401" in (await examined(tmp_path, valkey, code=1))["SD503"]["found"]


async def test_the_doctor_says_that_a_login_is_refused(valkey: ProtectedValkey, tmp_path: Path) -> None:
    async with system_on(valkey.address, tmp_path, BY_PASSWORD) as system:
        system.folder.write_secrets("another-word", "redisPassword")
        found = await examined(tmp_path, valkey, code=0)
    assert "invalid username-password pair" in found["SD901"]["found"]
    assert "another-word" not in found["SD901"]["found"]


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def behind_tls(valkey: ProtectedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same server behind a door that talks TLS, with a certificate that nobody vouches for."""
    with tls_in_front_of(valkey.port, tmp_path_factory.mktemp("tls")) as port:
        yield f"127.0.0.1:{port}"


async def test_a_broker_behind_tls_is_spoken_to_as_the_component_says(behind_tls: str, tmp_path: Path) -> None:
    items = [plain("enableTLS", "true"), plain("insecureSkipTLSVerify", "true"), *BY_PASSWORD]
    async with system_on(behind_tls, tmp_path, items) as system:
        await counted_and_rung(system)


async def test_a_certificate_that_nobody_vouches_for_is_one_sentence(behind_tls: str, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="certificate verify failed"):
        async with system_on(behind_tls, tmp_path, [plain("enableTLS", "true"), *BY_PASSWORD]):
            pytest.fail("it started")

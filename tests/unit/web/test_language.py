"""What a service says of its events, over HTTP."""

import msgspec
from fastapi import APIRouter
from fastapi.testclient import TestClient

from sidestream.backbone import MemoryBackbone
from sidestream.projection import Projection
from sidestream.schema.catalogue import Catalogue, describe
from sidestream.settings import Settings
from sidestream.web.app import new_app
from sidestream.web.projections import projection_app
from tests.unit.schema.shop import LANGUAGE, Placed


def test_a_service_serves_its_language_as_a_catalogue() -> None:
    with TestClient(new_app("shop", Settings(), language=LANGUAGE)) as client:
        found = client.get("/language")
    assert found.status_code == 200
    assert msgspec.convert(found.json(), Catalogue) == describe(LANGUAGE)


def test_a_service_serves_what_it_sends_and_nothing_of_others() -> None:
    with TestClient(new_app("shop", Settings(pubsub="bus"), language=LANGUAGE)) as client:
        found = client.get("/asyncapi.json").json()
    assert (found["asyncapi"], found["info"]["title"], list(found["servers"])) == ("3.0.0", "shop", ["bus"])
    assert list(found["operations"]) == ["shop.send.orders"]
    assert list(found["channels"]) == ["orders"]
    assert list(found["components"]["messages"]) == ["order.placed", "order.paid"]


class Parcels(Projection):
    """What was ordered."""

    name = "parcels"
    topics = ("orders",)
    handles = (Placed,)
    tables = ()


def test_the_app_of_a_projection_says_what_it_receives() -> None:
    with TestClient(projection_app(Parcels(), LANGUAGE, Settings(), MemoryBackbone(), APIRouter())) as client:
        found = client.get("/asyncapi.json").json()
    assert {name: [each["$ref"] for each in one["messages"]] for name, one in found["operations"].items()} == {
        "parcels.receive.orders": ["#/channels/orders/messages/order.placed"]
    }


def test_an_app_without_a_language_has_no_such_routes() -> None:
    with TestClient(new_app("shop", Settings())) as client:
        assert client.get("/language").status_code == client.get("/asyncapi.json").status_code == 404

"""Ports that are chosen at start: what an app is told of another one's address moves with it."""

from pathlib import Path

from sidestream.launcher.plan import Wishes, choose_apps

SHOP = Path(__file__).parents[2] / "apps" / "shop.yaml"


def test_the_address_of_another_app_moves_with_its_port() -> None:
    apps = {app.name: app for app in choose_apps(SHOP, Wishes(free_ports=True))}

    assert apps["orders"].port != 18104
    for name in ("shipping", "shipping-too"):
        assert apps[name].environment["SIDESTREAM_URL_ORDERS"] == f"http://127.0.0.1:{apps['orders'].port}"
        assert apps[name].environment["PYTHONUNBUFFERED"] == "1"


def test_ports_that_stay_leave_addresses_as_they_are() -> None:
    apps = {app.name: app for app in choose_apps(SHOP, Wishes())}

    assert apps["shipping"].environment["SIDESTREAM_URL_ORDERS"] == "http://127.0.0.1:18104"

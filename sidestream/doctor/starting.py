"""The lines that start what has died, as `sidestream up` prints them. Works them out, starts nothing."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from sidestream.adapters.broker_kinds import REDIS, in_force
from sidestream.doctor.patient import AppSeen, Patient
from sidestream.errors import ConfigurationError
from sidestream.launcher.broker import Broker
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.network import free_ports
from sidestream.launcher.parts import app_program, sidecar_program
from sidestream.launcher.process import Program
from sidestream.launcher.tokens import ASKED_BY_THE_APP, ASKED_BY_THE_SIDECAR

BROKER: Final = "broker"
"""The name of the embedded broker, beside `<app>` and `<app>/daprd`."""


def sidecar_name(app: str) -> str:
    """Return under which name the sidecar of an app is known."""
    return f"{app}/daprd"


def lines(patient: Patient, place: SystemFolder, wanted: Collection[str]) -> Mapping[str, str]:
    """Return the lines of those that are wanted, by name; nothing for what nobody here could start."""
    return {program.name: program.line() for program in _programs(patient, place, wanted)}


def _programs(patient: Patient, place: SystemFolder, wanted: Collection[str]) -> Iterator[Program]:
    for each in patient.apps:
        if each.name in wanted and each.settings:
            told = {"SIDESTREAM_DATA": str(place.data), **({"SIDESTREAM_FOLLOW": "inbox"} if each.settings.follow == "inbox" else {})}
            yield app_program(each.app, each.settings.components, told, _tokens(place, each.name))
        if sidecar_name(each.name) in wanted and patient.daprd:
            folders, port = _resource_folders(patient, place, each), free_ports(1)[0]
            yield sidecar_program(each.app, patient.daprd.path, patient.base, folders, port, tokens=_tokens(place, each.name))
    if BROKER in wanted:
        with contextlib.suppress(ConfigurationError):  # whoever asked the broker has said it
            yield from _broker(patient, place)


def _tokens(place: SystemFolder, app: str) -> Mapping[str, Path]:
    """Return the files of the tokens of this start; none where it asks for none."""
    files = {name: place.tokens / app / name for name in (ASKED_BY_THE_SIDECAR, ASKED_BY_THE_APP)}
    return {name: file for name, file in files.items() if file.is_file()}


def _resource_folders(patient: Patient, place: SystemFolder, each: AppSeen) -> Sequence[Path]:
    """A system outside the default folder has numbered copies of the resources there, in the order of the originals."""
    if place.is_default_of(patient.base) or not place.resources.is_dir():
        return each.app.resource_folders
    copies = {folder: place.resources / str(number) for number, folder in enumerate(patient.resources)}
    return [copies.get(folder, folder) for folder in each.app.resource_folders]


def _broker(patient: Patient, place: SystemFolder) -> Iterator[Program]:
    """Yield the embedded broker where a start of this system has made it its own part."""
    told = next((each.settings for each in patient.apps if each.settings), None)
    if told is None or patient.launcher.broker or place.named_server or not (place.broker / "valkey.conf").is_file():
        return
    found = in_force(told.components, told.pubsub)
    if found.component.type == REDIS and found.secret:
        yield Broker(place.broker, 0, patient.launcher.appendfsync, on_line=lambda _: None).program

"""Ctrl-C while a generation is built: one line says what the catalogue holds then, and the exit code is 130."""

import json
from collections.abc import Sequence

import pytest
import typer

from sidestream.adapters.memory_read_model import MemoryReadModels
from sidestream.cli.interrupted import saying_what_is_left
from sidestream.errors import StoreAway
from sidestream.ports import GenerationInfo
from tests.contract.rebuilt import Web, built, now, site_of


class Away(MemoryReadModels):
    """Does not answer any more."""

    def generations(self) -> Sequence[GenerationInfo]:
        raise StoreAway("catalogue.sqlite: unable to open.")


def said(read_models: MemoryReadModels, capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> str:
    with pytest.raises(typer.Exit) as ended, saying_what_is_left(site_of(Web(), read_models), as_json=as_json):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.strip()


def test_what_is_unfinished_is_named_with_how_to_go_on_and_how_to_end_it(capsys: pytest.CaptureFixture[str]) -> None:
    read_models, web = MemoryReadModels(), Web()
    built(web, read_models)
    left = read_models.create(1, site_of(web, read_models).tables, now())

    found = said(read_models, capsys)

    assert f"{left} is unfinished and no query reads it, g1 is live." in found
    assert found.endswith(f"Go on: sidestream projections rebuild hits; or end it: sidestream projections drop hits {left}")
    assert json.loads(said(read_models, capsys, as_json=True))["error"] == {"code": "interrupted", "message": found}


def test_the_first_one_ever_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    read_models = MemoryReadModels()
    read_models.create(1, site_of(Web(), read_models).tables, now())

    assert "g1 is unfinished and no query reads it, none is live." in said(read_models, capsys)


def test_where_nothing_is_left_nothing_is_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    read_models = MemoryReadModels()
    built(Web(), read_models)

    assert said(read_models, capsys).endswith("interrupted. No generation is left unfinished, g1 is live.")


def test_a_catalogue_that_does_not_answer_is_said_too(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(Away(), capsys)

    assert "What is left cannot be looked up: catalogue.sqlite: unable to open. `sidestream projections list" in found

"""A path has one text, and a text names one path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.paths import path_bytes, path_text
from sidestream.errors import InvalidEvent


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/srv/a", "/srv/a"),
        ("/srv/café 🐈\n".encode(), "/srv/café 🐈\n"),
        (b"/srv/caf\xe9", "/srv/caf%E9"),
        (b"/srv/100%", "/srv/100%25"),
        (b"/srv/%E9", "/srv/%25E9"),
        (b"\xed\xa0\x80", "%ED%A0%80"),
        (b"", ""),
    ],
)
def test_only_percent_signs_and_bytes_that_are_not_utf8_are_encoded(path: bytes, text: str) -> None:
    assert path_text(path) == text
    assert path_bytes(text) == path


@given(st.binary())
def test_every_path_comes_back_from_valid_unicode(path: bytes) -> None:
    text = path_text(path)
    text.encode()

    assert path_bytes(text) == path


@given(st.binary(), st.binary())
def test_two_paths_never_have_the_same_text(one: bytes, other: bytes) -> None:
    assert (path_text(one) == path_text(other)) == (one == other)


@pytest.mark.parametrize("text", ["100%", "%4", "%zz", "%41", "%e9", "%C3%A9", "% 1"])
def test_a_text_that_no_path_is_written_as_is_refused(text: str) -> None:
    with pytest.raises(InvalidEvent, match="percent-encoded"):
        path_bytes(text)

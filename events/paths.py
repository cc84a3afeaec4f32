r"""How a path stands in an event. A file name is bytes; what travels is valid Unicode text.

Exactly `%` and the bytes that are not part of valid UTF-8 are percent-encoded, so that every path has one text and every
such text names one path: `caf\xe9` is `caf%E9`, `café` stays `café`, and `100%` is `100%25`.
"""

import re
from typing import Final

from sidestream.errors import InvalidEvent

_ESCAPED: Final = re.compile("[%\udc80-\udcff]")
_ENCODED: Final = re.compile(b"%(..?)?", re.DOTALL)


def path_text(path: bytes) -> str:
    """Return the text of a path."""
    if b"%" not in path:
        try:
            return path.decode()
        except UnicodeDecodeError:
            pass
    return _ESCAPED.sub(_escape, path.decode("utf-8", "surrogateescape"))


def _escape(found: re.Match[str]) -> str:
    """Bytes that are not UTF-8 stand as U+DC80 to U+DCFF here (PEP 383): the byte is the low eight bits."""
    return f"%{ord(found[0]) & 0xFF:02X}"


def path_bytes(text: str) -> bytes:
    """Return the path of a text.

    Raises:
        InvalidEvent: not a text that `path_text` writes.
    """
    try:
        path = _ENCODED.sub(_unescape, text.encode())
    except ValueError:
        path = None
    if path is None or path_text(path) != text:
        raise InvalidEvent(f"path: expected text with `%` and bytes that are not UTF-8 percent-encoded, found {text[:200]!a}")
    return path


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex((found[1] or b"").decode("ascii"))

"""Reads files: their SHA-256 in a streamed read, and what kind they are by their names.

A file that changes while it is read is read again; one that will not keep still, or cannot be read, is given up.
"""

import hashlib
import mimetypes
import os
import stat
from typing import Final

from events.paths import path_bytes
from services.assets.comparing import ReadFile

TRIES: Final = 3
_BLOCK: Final = 1024 * 1024
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # neither a link nor a pipe that took its place
_UNKNOWN: Final = "application/octet-stream"
_BY_SUFFIX: Final = {
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".ndjson": "application/x-ndjson",
    ".toml": "application/toml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


class FileReader:
    """Reads files, from any thread."""

    def __init__(self) -> None:
        self._types = mimetypes.MimeTypes()  # Python's own table only, so that every machine says the same

    def read(self, path: str) -> ReadFile | None:
        """Read a file from end to end; None when it is gone, is no regular file any more, or cannot be read in one state."""
        try:
            name = path_bytes(path)
            for _ in range(TRIES):
                if (found := _read_once(name)) is not None:
                    size, modified_ns, sha256 = found
                    return ReadFile(path, size, modified_ns, sha256, self.media_type(path))
        except OSError:
            return None
        return None

    def media_type(self, path: str) -> str:
        """Guess the media type from the name; `application/octet-stream` where the name says nothing."""
        suffix = _suffix(path)
        suffix = self._types.suffix_map.get(suffix, suffix)  # .tgz is .tar.gz
        suffix = suffix[suffix.rfind(".") :]
        if encoding := self._types.encodings_map.get(suffix):
            return "application/gzip" if encoding == "gzip" else f"application/x-{encoding}"
        return _BY_SUFFIX.get(suffix) or self._types.types_map[True].get(suffix, _UNKNOWN)


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2].lower()
    at = name.rfind(".")
    return name[at:] if at > 0 else ""


def _read_once(name: bytes) -> tuple[int, int, str] | None:
    """Return size, time of modification and hash, or None when the file changed meanwhile or is no regular file."""
    descriptor = os.open(name, _FLAGS)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return None
        sha256, size = _digest(descriptor)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (after.st_size, after.st_mtime_ns, after.st_ctime_ns):
        return None
    return (after.st_size, after.st_mtime_ns, sha256) if size == after.st_size else None


def _digest(descriptor: int) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    while block := os.read(descriptor, _BLOCK):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size

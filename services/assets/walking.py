"""Lists the regular files below a directory. Symbolic links are not followed; what cannot be read is noted, never guessed."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable
from fnmatch import translate

import msgspec

from events.paths import path_text
from services.assets.comparing import Listed

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})


class Walked(msgspec.Struct):
    """What a walk saw.

    Attributes:
        files: regular files by path as text.
        unseen: files and directories that could not be read, as text; nothing is known of them or of what is below them.
    """

    files: dict[str, Listed] = {}
    unseen: set[str] = set()


class Excluded:
    """Names that are left out, wherever they stand below the scanned directory."""

    def __init__(self, patterns: Iterable[str]) -> None:
        expression = "|".join(translate(pattern) for pattern in patterns)
        self._matches = re.compile(expression).match if expression else None

    def names(self, name: str) -> bool:
        """Return whether a file or directory of this name is left out."""
        return self._matches is not None and self._matches(name) is not None

    def covers(self, relative: str) -> bool:
        """Return whether a path, relative to the scanned directory, is left out or lies in a directory that is."""
        return self._matches is not None and any(self._matches(name) for name in relative.split("/"))


def walk(directory: bytes, excluded: Excluded, on_directory: Callable[[int], object] = lambda _: None) -> Walked:
    """List what is there.

    Args:
        directory: absolute path.
        excluded: names that are left out.
        on_directory: told the number of files found so far, after each directory; may raise to stop.

    Raises:
        OSError: the directory itself cannot be read.
    """
    walked = Walked()
    pending = _list(directory, excluded, walked)
    while pending:
        on_directory(len(walked.files))
        below = pending.pop()
        try:
            pending += _list(below, excluded, walked)
        except OSError as error:
            if error.errno not in _GONE:  # removed since its parent was listed: then it is gone
                walked.unseen.add(path_text(below))
    return walked


def _list(directory: bytes, excluded: Excluded, walked: Walked) -> list[bytes]:
    """Note the files of one directory and return the directories in it."""
    below = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if excluded.names(path_text(entry.name)):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    _note(entry, walked)
            except OSError as error:
                if error.errno not in _GONE:
                    walked.unseen.add(path_text(entry.path))
    return below


def _note(entry: "os.DirEntry[bytes]", walked: Walked) -> None:
    found = entry.stat(follow_symlinks=False)
    if stat.S_ISREG(found.st_mode):
        walked.files[path_text(entry.path)] = Listed(found.st_size, found.st_mtime_ns)


def missed_below(directory: str, excluded: Excluded, unseen: set[str]) -> Callable[[str], bool]:
    """Return the rule that tells whether a known path below `directory` that was not listed is gone.

    It is not where the scan did not look (excluded names) or could not (unreadable directories and files).
    """
    begin = len(directory.rstrip("/")) + 1

    def is_missed(path: str) -> bool:
        if excluded.covers(path[begin:]):
            return False
        return not unseen or not any(above in unseen for above in _path_and_parents(path))

    return is_missed


def _path_and_parents(path: str) -> Iterable[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]

"""Imports an app's module `bootstrap`, and says where its code is broken when that fails.

The command in dapr.yaml is at fault only where the module that it names is not there. Anything else is at fault in the code:
the file and line are said, and that a released event is kept, for a class or module that was taken away is the usual reason.
"""

import importlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

from sidestream.errors import ConfigurationError, SidestreamError
from sidestream.launcher.runfile import App

NOT_IMPORTED: Final = " cannot be imported: "
"""Stands in the message between the module and what is wrong with it."""
_REMEDY: Final = "Correct it there. An event that was released is kept: only stop writing it."
_MACHINERY: Final = (__file__, importlib.__file__)


class NoSuchModule(ConfigurationError):
    """The command of an app names a module that is not there."""


def bootstrap_of(app: App) -> ModuleType:
    """Return the module in which an app is built.

    Raises:
        NoSuchModule: the command names none.
        ConfigurationError: it is there and cannot be imported.
    """
    where = f"{app.module}.bootstrap"
    with asked(app, f"{where}{NOT_IMPORTED}"):
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as error:
            if f"{where}.".startswith(f"{error.name}."):
                said = f"app {app.name}: expected a module {where}: {error}. Correct the command in dapr.yaml."
                raise NoSuchModule(said) from None
            raise


@contextmanager
def asked(app: App, failure: str) -> Iterator[None]:
    """Run an app's own code; whatever it raises becomes a ConfigurationError of that app. What is raised on purpose says it itself.

    Args:
        app: whose code it is.
        failure: what it means when it raises, `services.votes.bootstrap cannot be imported: `.
    """
    try:
        yield
    except SidestreamError:
        raise
    except Exception as error:  # somebody's code, it may raise anything
        words = error.msg if isinstance(error, SyntaxError) else str(error)
        said = f"{type(error).__name__}: {words}".rstrip(": .")
        raise ConfigurationError(f"app {app.name}: {failure}{_place(error, app.folder)}{said}. {_REMEDY}") from error


def _place(error: Exception, folder: Path) -> str:
    """Return `events/orders.py:12: `: the innermost line of the app's folder, of a library where there is none, or nothing."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename, folder)}:{error.lineno}: "
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename not in _MACHINERY and each.filename[0] != "<"]
    own = [each for each in frames if Path(each.filename).is_relative_to(folder.resolve()) and "site-packages" not in each.filename]
    at = (own or frames)[-1:]
    return "".join(f"{_short(each.filename, folder)}:{each.lineno}: " for each in at)


def _short(filename: str, folder: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(folder.resolve()) if path.is_relative_to(folder.resolve()) else path)

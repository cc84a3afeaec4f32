"""The secret stores of Dapr that need no server: secretstores.local.file and secretstores.local.env.

A file's nested keys are joined by `:` (or its nestedSeparator); with `multiValued` a secret is the map at a top-level name.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from sidestream.errors import ConfigurationError

_FORBIDDEN_PREFIX: Final = "DAPR_"
_FORBIDDEN: Final = "APP_API_TOKEN"


class Secrets(msgspec.Struct, frozen=True):
    """What one store holds: secret name → key → value; `None` where the environment is asked instead."""

    store: str
    prefix: str = ""
    by_name: Mapping[str, Mapping[str, str]] | None = None

    @classmethod
    def of(cls, kind: str, metadata: Mapping[str, str], store: str, base: Path = Path()) -> "Secrets":
        """Open a store.

        Args:
            kind: the component's type.
            metadata: its metadata, names in lower case.
            store: what to call it in errors.
            base: where the relative path of a file begins.

        Raises:
            ConfigurationError: its type cannot be read here, or its file is missing or malformed.
        """
        if kind == "secretstores.local.env":
            return cls(store, prefix=metadata.get("prefix", ""))
        if kind == "secretstores.local.file":
            return cls(store, by_name=_read(metadata, store, base))
        raise ConfigurationError(f"{store}: expected secretstores.local.file or secretstores.local.env, found {kind}.")

    def value(self, name: str, key: str, where: str) -> str:
        """Return a secret's value; raises ConfigurationError when there is none."""
        if self.by_name is None:
            return environment_value(self.prefix + name, where)
        found = self.by_name.get(name, {}).get(key, "")
        if not found:
            raise ConfigurationError(f"{where}: expected the secret {name!r}, key {key!r}, in {self.store}, found none. Add it there.")
        return found


def environment_value(name: str, where: str) -> str:
    """Return an environment variable that a resource refers to.

    Raises:
        ConfigurationError: it is not set, or is one that daprd gives to no component.
    """
    if name.upper().startswith(_FORBIDDEN_PREFIX) or name.upper() == _FORBIDDEN:
        raise ConfigurationError(f"{where}: the environment variable {name} is given to no component. Use another name.")
    if not os.environ.get(name):
        raise ConfigurationError(f"{where}: expected the environment variable {name}, found it empty or not set. Set it.")
    return os.environ[name]


def _read(metadata: Mapping[str, str], store: str, base: Path) -> Mapping[str, Mapping[str, str]]:
    if not metadata.get("secretsfile"):
        raise ConfigurationError(f"{store}: expected secretsFile. Add it.")
    path = base / metadata["secretsfile"]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{store}: expected the secrets file {path}, found none (working directory {Path.cwd()}). "
            "`sidestream up` and `sidestream broker start` write the one of the embedded broker."
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{store}: expected {path} as JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{store}: expected {path} as a JSON object, found {type(content).__name__}.")
    separator = metadata.get("nestedseparator") or ":"
    if metadata.get("multivalued", "").lower() == "true":
        return {name: _several(name, value, separator) for name, value in content.items()}
    return {name: {name: value} for name, value in _flat(content, (), separator)}


def _several(name: str, value: Any, separator: str) -> Mapping[str, str]:
    return dict(_flat(value, () if isinstance(value, dict) else (name,), separator))


def _flat(value: Any, path: tuple[str, ...], separator: str) -> Iterator[tuple[str, str]]:
    """Walk nested maps and lists; each leaf under its path: `{"redis": {"host": "a"}}` gives `redis:host`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, (*path, name), separator)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _flat(inner, (*path, str(at)), separator)
    elif isinstance(value, str):  # daprd makes garbage of numbers: a secret is text
        yield separator.join(path), value

"""Opens the log behind the very component that the sidecar uses: one folder of YAML swaps both.

Reads Dapr's resources as daprd does in self-hosted mode: every YAML file of the folder (no folders below it), several
documents in one, values given plainly (`value`), by environment (`envRef`) or from a secret store (`secretKeyRef`).
What daprd would only warn about is an error here: a log that nobody reads must not pass in silence.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml

from sidestream.adapters.secret_stores import Secrets, environment_value
from sidestream.errors import ConfigurationError
from sidestream.ports import EventLog

if TYPE_CHECKING:
    from sidestream.adapters.redis_log import RedisAddress

_KIND: Final = "Component"


class Component(msgspec.Struct, frozen=True):
    """One component as its file says it.

    Attributes:
        items: its metadata, each as in the file: name and value, envRef or secretKeyRef.
        secret_store: the component that keeps its secrets, empty when it has none.
        file: where it stands.
        scopes: the apps whose sidecars load it; empty: every app's.
    """

    name: str
    type: str
    items: tuple[Mapping[str, Any], ...]
    secret_store: str
    file: Path
    scopes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"component {self.name!r} ({self.file})"


def open_log(folder: Path, pubsub: str) -> EventLog:
    """Return a reader of the log that the pub/sub component writes to. It connects when it is first asked.

    Args:
        folder: the folder of Dapr resources.
        pubsub: the name of the component.

    Raises:
        ConfigurationError: the folder, the component or a secret is missing or contradicts itself, or its broker has no reader.
    """
    return log_of(named(read_components(folder), pubsub, folder))


def log_of(component: Component, base: Path = Path()) -> EventLog:
    """Return a reader of the log that this component writes to; see `open_log` for errors.

    Args:
        component: a pub/sub component.
        base: where relative paths of secrets begin, which for the sidecar is its working directory.
    """
    if not component.type.startswith("pubsub."):
        raise ConfigurationError(f"{component}: expected a pub/sub component, found type {component.type}. Name another one.")
    if component.type not in _OPEN:
        raise ConfigurationError(
            f"{component}: its log cannot be read: expected one of {', '.join(_OPEN)}, found {component.type}. "
            "On such a broker an app runs on the inbox log: SIDESTREAM_FOLLOW=inbox (docs/inbox.md). Or put another broker in force "
            "with `sidestream broker use`, or run everything in one process with `sidestream up --memory`."
        )
    return _OPEN[component.type](component, metadata_of(component, base))


def read_components(folder: Path) -> tuple[Component, ...]:
    """Return every component of the folder, in the order of the files.

    Raises:
        ConfigurationError: no such folder, or a file in it is not YAML or no resource.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"expected a folder of Dapr resources at {folder}, found none (working directory {Path.cwd()}). "
            "Start from the folder of dapr.yaml, or say where it is in SIDESTREAM_COMPONENTS."
        )
    files = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.is_file())
    return tuple(component for path in files for component in _components_in(path))


def _components_in(path: Path) -> Iterator[Component]:
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"{path}{line}: expected YAML: {error.problem}. Correct it.") from None
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: expected a readable YAML file: {error}") from None
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == _KIND:
            yield _component(document, path)


def _component(document: Mapping[str, Any], path: Path) -> Component:
    metadata, spec, auth = (document.get(part) or {} for part in ("metadata", "spec", "auth"))
    parts_are_maps = isinstance(metadata, dict) and isinstance(spec, dict) and isinstance(auth, dict)
    if not parts_are_maps or not isinstance(metadata.get("name"), str) or not isinstance(spec.get("type"), str):
        raise ConfigurationError(f"{path}: expected a component with metadata.name and spec.type. Add what is missing.")
    items = spec.get("metadata") or []
    if not isinstance(items, list) or not all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in items):
        raise ConfigurationError(f"{path}: component {metadata['name']!r}: expected spec.metadata as a list of name and value.")
    scopes = document.get("scopes") or []
    if not isinstance(scopes, list) or not all(isinstance(app, str) for app in scopes):
        raise ConfigurationError(f"{path}: component {metadata['name']!r}: expected scopes as a list of app ids. Correct it.")
    return Component(metadata["name"], spec["type"], tuple(items), str(auth.get("secretStore") or ""), path, tuple(scopes))


def named(components: tuple[Component, ...], name: str, folder: Path) -> Component:
    """Return the component of this name; raises ConfigurationError unless there is exactly one."""
    found = [component for component in components if component.name == name]
    if not found:
        names = ", ".join(sorted({component.name for component in components})) or "none"
        raise ConfigurationError(
            f"{folder}: expected a component {name!r}, found {names}. Name one of them in SIDESTREAM_PUBSUB, or add the component."
        )
    if len(found) > 1:
        files = " and ".join(str(component.file) for component in found)
        raise ConfigurationError(f"{folder}: expected one component {name!r}, found {len(found)}: {files}. Keep one of them.")
    return found[0]


# ── metadata: plain, from the environment, from a secret store ───────────────────────────────────────────────────────


def metadata_of(component: Component, base: Path = Path()) -> dict[str, str]:
    """Return the component's metadata with everything resolved. Names are in lower case, as daprd compares them.

    Args:
        component: of any type.
        base: where relative paths of secrets begin.

    Raises:
        ConfigurationError: a secret or a variable that it names is missing.
    """
    return {item["name"].lower(): _value(item, component, base) for item in component.items}


def _value(item: Mapping[str, Any], component: Component, base: Path) -> str:
    where = f"{component}: {item['name']}"
    reference = item.get("secretKeyRef")
    if reference is None:
        return _plain(item, where)
    if not isinstance(reference, dict) or not isinstance(reference.get("name"), str):
        raise ConfigurationError(f"{where}: expected secretKeyRef with name and key, found {reference!r}.")
    if not component.secret_store:
        raise ConfigurationError(f"{where}: expected auth.secretStore to say where the secret is kept. Add it.")
    store = named(read_components(component.file.parent), component.secret_store, component.file.parent)
    secrets = Secrets.of(store.type, {each["name"].lower(): _plain(each, str(store)) for each in store.items}, str(store), base)
    return secrets.value(reference["name"], str(reference.get("key") or reference["name"]), where)


def _plain(item: Mapping[str, Any], where: str) -> str:
    value = item.get("value")
    if value is None and item.get("envRef"):
        return environment_value(str(item["envRef"]), where)
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, str | int | float):
        return "" if value is None else str(value)
    raise ConfigurationError(f"{where}: expected {item['name']} as text, found {type(value).__name__}.")


# ── readers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _open_redis(component: Component, metadata: Mapping[str, str]) -> EventLog:
    from sidestream.adapters.redis_log import RedisAddress, RedisLog

    for setting in ("useentraid", "clientcert"):
        if metadata.get(setting, "").lower() not in {"", "false"}:
            raise ConfigurationError(f"{component}: {setting}: the log cannot be read this way yet. Name one server with a password.")
    cluster, failover = metadata.get("redistype", "node").lower() == "cluster", _is_true(metadata.get("failover", ""))
    if "," in metadata.get("redishost", "") and not cluster and not failover:
        raise ConfigurationError(f"{component}: expected one server, found several. Say redisType: cluster, or failover: true.")
    places = [_host_and_port(component, {**metadata, "redishost": host}) for host in metadata.get("redishost", "").split(",")]
    address = RedisAddress(
        host=places[0][0],
        port=places[0][1],
        username=metadata.get("redisusername", ""),
        password=metadata.get("redispassword", ""),
        database=_number(component, "redisDB", metadata.get("redisdb", ""), 0),
        tls=_is_true(metadata.get("enabletls", "")),
        verify=not _is_true(metadata.get("insecureskiptlsverify", "")),
    )
    return _moving(component, metadata, address, places, cluster=cluster) if cluster or failover else RedisLog(address)


def _moving(
    component: Component, metadata: Mapping[str, str], address: "RedisAddress", places: list[tuple[str, int]], *, cluster: bool
) -> EventLog:
    from sidestream.adapters.redis_servers import ClusterServers, MovingRedisLog, SentinelServers, asking_options

    if cluster:
        return MovingRedisLog(address, ClusterServers(places, asking_options(address, address.username, address.password)))
    master = metadata.get("sentinelmastername", "")
    if not master:
        raise ConfigurationError(f"{component}: failover: expected sentinelMasterName, found none. Add it.")
    options = asking_options(address, metadata.get("sentinelusername", ""), metadata.get("sentinelpassword", ""))
    return MovingRedisLog(address, SentinelServers(places, master, options))


def _host_and_port(component: Component, metadata: Mapping[str, str]) -> tuple[str, int]:
    host = metadata.get("redishost", "").strip()
    port = metadata.get("redisport", "")
    if "@" in host:
        raise ConfigurationError(f"{component}: expected redisHost as host:port, found who logs in, too. Say that in redisPassword.")
    bracketed = host.startswith("[")
    if ":" in host and not host.endswith("]") and (bracketed or host.count(":") == 1):
        host, _, port = host.rpartition(":")
    host = host.strip("[]")
    if not host:
        raise ConfigurationError(f"{component}: expected redisHost as host:port, found {metadata.get('redishost', '')!r}. Add it.")
    return host, _number(component, "redisHost", port, 6379)


def _number(component: Component, name: str, text: str, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise ConfigurationError(f"{component}: {name}: expected a number, found {text!r}.")
    return int(text)


def _is_true(text: str) -> bool:
    """Tell whether daprd would take the text for true."""
    return text.strip().lower() in {"1", "true", "t", "y", "yes", "on"}


def _open_kafka(component: Component, metadata: Mapping[str, str]) -> EventLog:
    from sidestream.adapters.kafka_log import open_kafka

    return open_kafka(str(component), metadata)


def _open_jetstream(component: Component, metadata: Mapping[str, str]) -> EventLog:
    from sidestream.adapters.jetstream_log import open_jetstream

    return open_jetstream(str(component), metadata)


_OPEN: Final[dict[str, Callable[[Component, Mapping[str, str]], EventLog]]] = {
    "pubsub.redis": _open_redis,
    "pubsub.kafka": _open_kafka,
    "pubsub.jetstream": _open_jetstream,
}

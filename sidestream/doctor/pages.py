"""YAML files with their line numbers: what a resource says, and where it says it.

Knows Dapr's form of a resource and nothing of what is right or wrong in one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sidestream.errors import ConfigurationError


@dataclass(frozen=True)
class Document:
    """One document of a file."""

    file: Path
    value: Any
    node: yaml.Node

    def line(self, *path: str | int) -> int:
        """Return the line of the value at this path; where it is not there, that of what would hold it."""
        node, found = self.node, self.node.start_mark.line
        for part in path:
            inner = _inside(node, part)
            if inner is None:
                break
            found, node = inner
        return int(found) + 1

    def at(self, *path: str | int) -> Any:
        """Return the value at this path; None where it is not there."""
        value = self.value
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value


@dataclass(frozen=True)
class Item:
    """One item of a component's metadata; the text is empty where a secret or the environment says it."""

    name: str
    text: str
    line: int


@dataclass(frozen=True)
class Resource:
    """One resource of Dapr, as its file says it."""

    document: Document
    kind: str
    name: str
    type: str
    scopes: tuple[str, ...]
    items: Mapping[str, Item]

    @property
    def file(self) -> Path:
        """Where it stands."""
        return self.document.file

    def text(self, name: str, default: str = "") -> str:
        """Return an item of its metadata by its name in lower case."""
        item = self.items.get(name)
        return item.text if item else default

    def is_for(self, app: str) -> bool:
        """Whether the sidecar of an app loads it."""
        return not self.scopes or app in self.scopes


def documents(file: Path) -> list[Document]:
    """Return the documents of a file; raises ConfigurationError where it is not YAML."""
    try:
        loader = yaml.SafeLoader(file.read_text(encoding="utf-8"))
        found = []
        while loader.check_node():
            node = loader.get_node()
            assert node is not None, "there was one"
            found.append(Document(file, loader.construct_document(node), node))
    except yaml.MarkedYAMLError as problem:
        line = f":{problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise ConfigurationError(f"{file}{line}: expected YAML: {problem.problem}. Correct it.") from None
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{file}: expected a readable YAML file: {problem}") from None
    return found


def resources(folder: Path) -> tuple[Resource, ...]:
    """Return every resource in the files of a folder, in their order; raises ConfigurationError."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.is_file())
    found = [document for file in files for document in documents(file)]
    return tuple(_resource(document) for document in found if isinstance(document.value, dict) and document.value.get("kind"))


def _resource(document: Document) -> Resource:
    scopes = document.at("scopes")
    return Resource(
        document,
        str(document.at("kind")),
        str(document.at("metadata", "name") or ""),
        str(document.at("spec", "type") or ""),
        tuple(map(str, scopes)) if isinstance(scopes, list) else (),
        _items(document),
    )


def _items(document: Document) -> dict[str, Item]:
    listed = document.at("spec", "metadata")
    found: dict[str, Item] = {}
    for at, item in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            found[item["name"].lower()] = Item(item["name"], _text(item.get("value")), document.line("spec", "metadata", at))
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _inside(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    """Return the line and the node of a part of a map or a list."""
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark.line, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    return None

"""Read models that several programs use, at once or one after another: none that ends closes them for the others."""

from typing import Any, cast

from sidestream.ports import ReadModels


class _KeptOpen:
    def __init__(self, read_models: ReadModels) -> None:
        self._read_models = read_models

    def close(self) -> None:
        """Whoever made them closes them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read_models, name)


def kept_open(read_models: ReadModels) -> ReadModels:
    return cast(ReadModels, _KeptOpen(read_models))

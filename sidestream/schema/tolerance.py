"""What a model of an event must not hold: what would not read tolerantly, or would look in the catalogue like something else.

A change is found by comparing JSON Schemas. A time without a zone looks like any text there, and the keys of a map look all
alike; a change of either would stop old events from being read and be judged "nothing changed". Pure.
"""

from collections.abc import Iterator

import msgspec
from msgspec import inspect as shape


def fault_in(model: type[msgspec.Struct]) -> str | None:
    """Return what is wrong with a model and what to do; None when nothing is."""
    if model.__struct_config__.array_like:
        return (
            f"expected a model whose fields go by their names, found array_like in {model.__name__}. "
            "Remove it: a field that is added or removed later would shift the others."
        )
    return next((found for path, part in _parts(shape.type_info(model), model.__name__, set()) if (found := _fault(path, part))), None)


def _parts(part: shape.Type, path: str, seen: set[type]) -> Iterator[tuple[str, shape.Type]]:
    """Yield a type and all that it is made of, each with the fields that lead to it; a model inside itself once."""
    yield path, part
    if isinstance(part, shape.Metadata):
        yield from _parts(part.type, path, seen)
    for name in ("item_type", "key_type", "value_type"):
        if inner := getattr(part, name, None):
            yield from _parts(inner, path, seen)
    for inner in getattr(part, "types", getattr(part, "item_types", ())):
        yield from _parts(inner, path, seen)
    if isinstance(part, shape.StructType | shape.DataclassType | shape.TypedDictType | shape.NamedTupleType) and part.cls not in seen:
        seen.add(part.cls)
        for field in part.fields:
            yield from _parts(field.type, f"{path}.{field.encode_name}", seen)


def _fault(path: str, part: shape.Type) -> str | None:
    if isinstance(part, shape.StructType) and part.forbid_unknown_fields:
        return (
            f"expected a model that reads tolerantly, found forbid_unknown_fields in {part.cls.__name__}. "
            "Remove it: a field that is added later must not stop this program."
        )
    if isinstance(part, shape.DateTimeType | shape.TimeType) and part.tz is not True:
        kind = "datetime" if isinstance(part, shape.DateTimeType) else "time"
        return (
            f"{path}: expected a time that must say its zone, found {kind} as it is. "
            f"Write Annotated[datetime.{kind}, msgspec.Meta(tz=True)]: without a zone it is no moment, and looks like any text."
        )
    keys = _bare(getattr(part, "key_type", shape.AnyType()))
    if not isinstance(keys, shape.StrType | shape.AnyType):
        kind = type(keys).__name__.removesuffix("Type").lower()
        return (
            f"{path}: expected text as the keys of a map, found {kind}. "
            "Write dict[str, …] and convert where it is read: in JSON every key is text, and a change of them could not be seen."
        )
    return None


def _bare(part: shape.Type) -> shape.Type:
    return _bare(part.type) if isinstance(part, shape.Metadata) else part

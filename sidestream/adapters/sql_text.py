"""SQL that SQLite and PostgreSQL both understand, made from a table's declaration. Names are quoted, values are placeholders."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidestream.ports import Condition, Query
from sidestream.projection import ColumnType, Table


def quoted(name: str) -> str:
    """Return a name as SQL wants it."""
    return '"' + name.replace('"', '""') + '"'


def columns(names: Sequence[str]) -> str:
    """Return a list of quoted names."""
    return ", ".join(quoted(name) for name in names)


def create_table(table: Table[Any], types: Mapping[ColumnType, str], suffix: str = "") -> list[str]:
    """Return the statements that make a table and its indexes."""
    lines = [f"{quoted(column.name)} {types[column.type]}{'' if column.nullable else ' NOT NULL'}" for column in table.columns]
    body = ", ".join([*lines, f"PRIMARY KEY ({columns(table.key)})"])
    statements = [f"CREATE TABLE {quoted(table.name)} ({body}){suffix}"]
    wanted = [*table.indexes, *([table.keep.by] if table.keep else [])]
    for at, names in enumerate(dict.fromkeys(wanted)):
        statements.append(f"CREATE INDEX {quoted(f'{table.name}_{at}')} ON {quoted(table.name)} ({columns(names)})")
    return statements


def select_page(table: Table[Any], query: Query, placeholder: str) -> tuple[str, list[Any]]:
    """Return the statement of a page and its values."""
    clauses, values = _clauses(query.where, placeholder)
    if query.after is not None:
        comparison = "<" if query.descending else ">"
        clauses.append(f"({columns(query.order_by)}) {comparison} ({', '.join([placeholder] * len(query.after))})")
        values.extend(query.after)
    direction = " DESC" if query.descending else ""
    order = ", ".join(quoted(name) + direction for name in query.order_by)
    statement = f"SELECT {columns(table.column_names)} FROM {quoted(table.name)}{_where(clauses)}"
    return f"{statement}{f' ORDER BY {order}' if order else ''} LIMIT {placeholder}", [*values, query.limit]


def count_rows(table: Table[Any], where: Sequence[Condition], placeholder: str) -> tuple[str, list[Any]]:
    """Return the statement that counts, and its values."""
    clauses, values = _clauses(where, placeholder)
    return f"SELECT count(*) FROM {quoted(table.name)}{_where(clauses)}", values


def delete_older(table: Table[Any], placeholder: str) -> tuple[str, list[Any]]:
    """Return the statement that forgets all but the newest rows of a table that keeps only these."""
    keep = table.keep
    if keep is None:
        raise ValueError(f"{table}: keeps everything")
    order = ", ".join(quoted(name) + " DESC" for name in keep.by)
    oldest = f"SELECT {columns(keep.by)} FROM {quoted(table.name)} ORDER BY {order} LIMIT 1 OFFSET {placeholder}"
    return f"DELETE FROM {quoted(table.name)} WHERE ({columns(keep.by)}) < ({oldest})", [keep.count - 1]


def _clauses(where: Sequence[Condition], placeholder: str) -> tuple[list[str], list[Any]]:
    clauses = [f"{quoted(condition.column)} {condition.comparison} {placeholder}" for condition in where]
    return clauses, [condition.value for condition in where]


def _where(clauses: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(clauses)}" if clauses else ""

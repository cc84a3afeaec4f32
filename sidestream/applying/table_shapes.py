"""Holds the tables that a generation was made with against those that the code declares.

Both are of one version, so one must be able to write what the other reads. Where somebody changed a table and did not raise
the version, nothing may be applied: every event would be refused by the database and parked, or a column stay empty unseen.
"""

from collections.abc import Iterable, Iterator, Sequence

from sidestream.applying.applied import BOOKKEEPING_PREFIX
from sidestream.errors import OtherTables
from sidestream.ports import GenerationInfo, ReadModels, TableShape, shape_of
from sidestream.projection import Projection


def check_shapes(projection: Projection, info: GenerationInfo, read_models: ReadModels) -> None:
    """Let a generation of another version be, and one whose release did not note its tables.

    Raises:
        OtherTables: it is of the code's version, and has other tables, keys or columns.
    """
    noted = _own(read_models.shapes(info.name)) if info.version == projection.version else []
    differences = list(_differences(noted, _own(map(shape_of, projection.tables)))) if noted else []
    if differences:
        raise OtherTables(
            f"it and the code are both of version {info.version}, but {'; '.join(differences)}. "
            f"Raise the version of {projection.name} in its code, then run: sidestream projections rebuild {projection.name}"
        )


def _own(shapes: Iterable[TableShape]) -> Sequence[TableShape]:
    return [shape for shape in shapes if not shape.name.startswith(BOOKKEEPING_PREFIX)]


def _differences(noted: Sequence[TableShape], declared: Sequence[TableShape]) -> Iterator[str]:
    there, here = ({shape.name: shape for shape in shapes} for shapes in (noted, declared))
    for name in sorted(there.keys() | here.keys()):
        if name not in here:
            yield f"the code has no table {name}"
        elif name not in there:
            yield f"the generation has no table {name}"
        else:
            yield from _columns(there[name], here[name])


def _columns(there: TableShape, here: TableShape) -> Iterator[str]:
    if there.key != here.key:
        yield f"table {here.name} has the key {', '.join(there.key)} there and {', '.join(here.key)} in the code"
    noted, declared = ({column.name: column for column in shape.columns} for shape in (there, here))
    for name in sorted(noted.keys() | declared.keys()):
        if name not in declared:
            yield f"the code has no column {name} in table {here.name}"
        elif name not in noted:
            yield f"the generation has no column {name} in table {here.name}"
        elif noted[name] != declared[name]:
            kinds = (f"{column.type}{' or nothing' if column.nullable else ''}" for column in (noted[name], declared[name]))
            yield f"column {name} of table {here.name} is {' there and '.join(kinds)} in the code"

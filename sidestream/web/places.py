"""Where an event stands in the count, as an answer shows it and OpenAPI describes it.

The kernel's own is `sidestream.applying.consistency.Place`; this is made from one.
"""

from pydantic import BaseModel, ConfigDict


class Place(BaseModel):
    """Where an event stands in the count of its topic; a query may wait for it."""

    model_config = ConfigDict(from_attributes=True)

    topic: str
    producer: str
    sequence: int

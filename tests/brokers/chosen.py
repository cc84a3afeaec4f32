"""Which brokers a run of the tests is for.

Valkey and JetStream always: `make setup` brings both. Redis itself, Kafka (whose jars need Maven, once) and
RabbitMQ where SIDESTREAM_BROKERS names them, as `make test-brokers` does; what is left out is told at the end of the run.
"""

import os
from typing import Final

VARIABLE: Final = "SIDESTREAM_BROKERS"
ALWAYS: Final = ("jetstream",)
ON_REQUEST: Final = ("redis", "kafka", "rabbitmq")


def chosen() -> tuple[str, ...]:
    """Return the brokers of this run beside the embedded Valkey; an unknown name is an error."""
    asked = [name for name in os.environ.get(VARIABLE, "").replace(",", " ").split() if name not in ALWAYS]
    if unknown := set(asked) - set(ON_REQUEST):
        raise ValueError(f"{VARIABLE}: expected some of {', '.join(ON_REQUEST)}, found {', '.join(sorted(unknown))}")
    return (*ALWAYS, *asked)


def left_out() -> tuple[str, ...]:
    """Return the brokers that this run does not start."""
    return tuple(name for name in ON_REQUEST if name not in chosen())


def with_a_log() -> tuple[str, ...]:
    """Return those brokers of this run whose log has a reader of its own; Redis has Valkey's."""
    return tuple(name for name in chosen() if name not in {"rabbitmq", "redis"})

"""The page of several runs: brokers side by side, then what the answers mean. Made from the results, never by hand."""

from collections.abc import Iterable, Sequence
from typing import Final

from sidestream.conformance.results import Result, Run

_MARKS: Final = {"good": "✓", "note": "·", "bad": "✗"}
_NAMES: Final = {
    "redis": "Redis / Valkey Streams",
    "kafka": "Kafka",
    "jetstream": "NATS JetStream",
    "rabbitmq": "RabbitMQ",
    "in-memory": "Dapr in-memory",
}
_ORDER: Final = tuple(_NAMES)
_CHAPTERS: Final = (
    (
        "The log",
        "What a projection is built from. On a broker without a log that can be read, it is the app's own inbox log.",
        ("replay-log", "log-order-one", "log-order-key", "log-order-bulk", "attributes-log", "same-event", "same-id"),
    ),
    (
        "Deliveries",
        "Where the log is read, a delivery is only a bell: one that is lost costs a sweep, a second at most. For an inbox it is the truth.",
        (
            "delivered-all",
            "delivered-order-one",
            "delivered-order-bulk",
            "delivered-order-key",
            "attributes-delivered",
            "replay-delivered",
        ),
    ),
    (
        "When something fails",
        "",
        ("redelivery-one", "redelivery-bulk", "dead-letter", "app-killed", "sidecar-killed", "broker-away", "broker-back"),
    ),
    ("Rates", "Events a second, on the machine and in the hour named below.", ("rate-publish", "rate-bulk", "rate-delivered", "rate-log")),
)
_ALWAYS_TOLD: Final = ("broker-away",)
"""How the broker was taken away, and what its publishers felt, is worth a line also where nothing was lost."""
_HEAD: Final = """\
# What each broker does to events

Written by `sidestream broker check --write docs/brokers.md benchmarks/results/brokers/*.json`; a change by hand is lost.

Swapping the broker is a matter of YAML (`sidestream broker use NAME`). What changes with it was measured through a real sidecar, on real
servers, with exactly the folders of `components/brokers`. To measure yours: `sidestream broker check NAME --address …`.

The broker is paused here, and only Redis is killed. RabbitMQ killed while sidecars publish loses events that were confirmed:
[what remains lossy](inbox.md#what-remains-lossy).

✓ as it should be; · to know; ✗ events would be lost, or a read model would be wrong; – not asked, or there is nothing to ask
"""


def page_of(runs: Sequence[Run]) -> str:
    """Return the page as Markdown."""
    ordered = sorted(runs, key=_place)
    chapters = [_chapter(title, text, names, ordered) for title, text, names in _CHAPTERS]
    return "\n".join(part for part in [_HEAD, _in_short(ordered), *chapters, _more(ordered), _where(ordered)] if part)


def _place(run: Run) -> tuple[int, str]:
    return (_ORDER.index(run.broker) if run.broker in _ORDER else len(_ORDER), run.broker)


def _in_short(runs: Sequence[Run]) -> str:
    lines = ["## In short\n", "| | projections follow | speaks against it |", "|---|---|---|"]
    for run in runs:
        bad = [result.question for result in run.results if result.verdict == "bad"]
        follow = "its log" if run.follow == "log" else "an [inbox log](inbox.md) of their own"
        against = " ".join(bad) or "nothing"
        lines.append(f"| **{_title(run)}** | {follow} | {against} |")
    return "\n".join(lines) + "\n"


def _chapter(title: str, text: str, names: Iterable[str], runs: Sequence[Run]) -> str:
    found = {name: [run.result(name) for run in runs] for name in names}
    asked = {name: results for name, results in found.items() if any(results)}
    rows = [_row(results) for results in asked.values()]
    table = "\n".join([_header(runs), *rows]) if rows else "Not asked in these runs."
    return "\n".join([f"## {title}\n", *([f"{text}\n"] if text else []), f"{table}\n", *_meanings(asked.values(), runs)])


def _header(runs: Sequence[Run]) -> str:
    return f"| | {' | '.join(_title(run) for run in runs)} |\n|---|{'---|' * len(runs)}"


def _row(results: Sequence[Result | None]) -> str:
    question = next(result.question for result in results if result)
    cells = [f"{_MARKS[result.verdict]} {result.answer}" if result else "–" for result in results]
    return f"| {_cell(question)} | {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _meanings(rows: Iterable[Sequence[Result | None]], runs: Sequence[Run]) -> list[str]:
    """Say what the answers that are not simply good mean, each text once, and for which brokers; a rate means nothing more."""
    brokers: dict[str, dict[str, None]] = {}
    for results in rows:
        for run, result in zip(runs, results, strict=True):
            if result and (result.verdict != "good" or result.name in _ALWAYS_TOLD) and result.unit != "events/s":
                brokers.setdefault(result.explanation, {})[_title(run)] = None
    lines = [f"- **{', '.join(named)}**: {text}" for text, named in brokers.items()]
    return [*lines, ""] if lines else []


def _more(runs: Sequence[Run]) -> str:
    """Return what no chapter has: probes that could not be asked, and those of a newer version."""
    known = {name for _, _, names in _CHAPTERS for name in names}
    lines = [
        f"- {_title(run)}: {result.question} {result.answer}. {result.explanation}"
        for run in runs
        for result in run.results
        if result.name not in known
    ]
    return "\n".join(["## Not measured\n", *lines, ""]) if lines else ""


def _where(runs: Sequence[Run]) -> str:
    lines = ["## Where and when\n", "| | server | sidecar | run | machine | load before, after |", "|---|---|---|---|---|---|"]
    for run in runs:
        machine = f"{run.machine.system}, {run.machine.processors} processors, Python {run.machine.python}"
        load = f"{run.machine.load_before:g}, {run.machine.load_after:g}"
        when = f"{run.scope}, {run.began[:10]}, {run.seconds:.0f} s"
        lines.append(f"| {_title(run)} | {_cell(run.server) or 'not said'} | {run.sidecar} | {when} | {machine} | {load} |")
    return "\n".join(lines) + "\n"


def _title(run: Run) -> str:
    return _NAMES.get(run.broker, run.broker)

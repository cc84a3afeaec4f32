"""Read models: is what queries see made by the code that is there, and can it be read?"""

from collections.abc import Iterator

from sidestream.doctor.brokers import SKEW_SECONDS, skewed
from sidestream.doctor.finding import Finding, error, note, warning
from sidestream.doctor.patient import DatabaseSeen, Patient, ReadModelSeen


def older_than_its_code(patient: Patient) -> Iterator[Finding]:
    """A rule that changed shows in the rows after a rebuild, and not before."""
    for model in _models(patient):
        if not model.problem and model.built is not None and model.built != model.code:
            yield warning(
                "SD701",
                f"projection {model.projection}",
                f"{model.generation} is live and was built by version {model.built}; the code is version {model.code}.",
                f"Deploy version {model.built}." if model.built > model.code else f"sidestream projections rebuild {model.projection}",
            )


def not_live(patient: Patient) -> Iterator[Finding]:
    """Queries are refused where no generation is live; before the first start that is as it should be, and in memory nothing is here."""
    if patient.live and patient.live.is_in_one_process:
        return
    for model in _models(patient):
        if not model.problem and model.built is None:
            answers = bool(patient.live and model.app in patient.live.answering)
            say = warning if answers else note
            found = "no generation is live" + (", and its app runs: every query is refused." if answers else "; its app was never started.")
            yield say("SD702", f"projection {model.projection}", found, f"sidestream projections rebuild {model.projection}")


def unreadable(patient: Patient) -> Iterator[Finding]:
    """A database that is away stops its projection and its queries."""
    told = {each.name: each.settings for each in patient.apps}
    for model in _models(patient):
        if model.problem:
            settings = told.get(model.app)
            is_elsewhere = bool(settings and settings.database_url)
            yield error("SD703", f"projection {model.projection}", model.problem, _remedy(model, is_elsewhere=is_elsewhere))


def database_clock(patient: Patient) -> Iterator[Finding]:
    """Leases and the ages of answers are worked out by the database."""
    for database in _databases(patient):
        if not database.problem and abs(database.skew) > SKEW_SECONDS:
            yield warning("SD704", database.where, skewed(database.skew), "timedatectl set-ntp true  # on both machines")


def databases_unknown(patient: Patient) -> Iterator[Finding]:
    """A database that does not answer is an error of its own where event stores lie in it."""
    for database in _databases(patient):
        if database.problem:
            yield error("SD703", database.where, database.problem, "Start the database, or correct its url in the settings.")


def _remedy(model: ReadModelSeen, *, is_elsewhere: bool) -> str:
    if model.broken:
        return f"sidestream projections rebuild {model.projection}  # makes another from the log"
    if is_elsewhere:
        return "Start the database, or correct SIDESTREAM_DATABASE_URL."
    return "Do what it says; the rows can always be made again from the log."


def _models(patient: Patient) -> Iterator[ReadModelSeen]:
    yield from patient.live.read_models if patient.live else ()


def _databases(patient: Patient) -> Iterator[DatabaseSeen]:
    yield from patient.live.databases if patient.live else ()

"""What becomes of a delivery that fails, for an app that keeps an inbox log: there a delivery is the truth."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sidestream.doctor.finding import Finding, error, warning
from sidestream.doctor.pages import Document, Item, Resource
from sidestream.doctor.patient import AppSeen, Patient
from sidestream.web.inbox import UNDELIVERED

_ENDLESS: Final = -1
_BY_DEFAULT: Final = ("DefaultComponentInboundRetryPolicy", "DefaultComponentRetryPolicy", "DefaultRetryPolicy")
"""Names under which a policy is in force without being a target's, the nearest first."""


def retry_policy(patient: Patient) -> Iterator[Finding]:
    """Without a retry one failed delivery is an event lost; one that ends loses later."""
    for (place, said), apps in _by_place(patient).items():
        names = ", ".join(each.name for each in apps)
        if said is None:
            yield error(
                "SD301",
                place,
                f"the inbox of {names} has no inbound retry: one delivery that fails is acknowledged and gone (1,120 of 4,500 events).",
                "spec.targets.components.<pubsub>.inbound.retry: <a policy with maxRetries: -1>, as in components/inbox/resiliency.yaml",
            )
        else:
            yield warning(
                "SD302",
                place,
                f"the inbound retry of {names} ends after {said}: an outage that lasts longer empties the topic into dead letters.",
                "maxRetries: -1",
            )


def closed_dead_letters(patient: Patient) -> Iterator[Finding]:
    """Topic permissions must leave room for what could not be delivered."""
    for resource, apps in patient.logs():
        for each in apps:
            wanted = [f"{topic}{UNDELIVERED}{each.name}" for topic in each.topics or () if UNDELIVERED not in topic]
            for item in (resource.items.get("publishingscopes"), resource.items.get("subscriptionscopes")):
                missing = [topic for topic in wanted if item and topic not in topics_of(item, each.name)]
                if item and missing and each.keeps_an_inbox:
                    yield _closed(patient.line(resource.file, item.line), item, each.name, missing)


def declared_subscriptions(patient: Patient) -> Iterator[Finding]:
    """A Subscription in a file says itself where its dead letters go."""
    found = {id(one): one for each in patient.apps if each.keeps_an_inbox for one in patient.loaded_by(each, "Subscription")}
    for resource in found.values():
        if not resource.document.at("spec", "deadLetterTopic"):
            yield error(
                "SD304",
                patient.place(resource.document, "spec"),
                f"subscription `{resource.name}` names no dead-letter topic: what its retries give up is gone.",
                f"deadLetterTopic: {resource.document.at('spec', 'topic')}{UNDELIVERED}<app id>",
            )


def topics_of(item: Item, app: str) -> tuple[str, ...]:
    """Return the topics that a scopes item (`app=topic,topic;app=…`) gives an app."""
    given = permissions(item).get(app, "")
    return tuple(topic.strip() for topic in given.split(",") if topic.strip())


def permissions(item: Item) -> Mapping[str, str]:
    """Return a scopes item as app → its topics."""
    parts = (part.partition("=") for part in item.text.split(";"))
    return {app.strip(): topics for app, _, topics in parts if app.strip()}


def _closed(place: str, item: Item, app: str, missing: list[str]) -> Finding:
    return error(
        "SD303",
        place,
        f"{item.name} keeps {app} from {', '.join(missing)}: what could not be delivered to it has nowhere to go.",
        f"Add to `{app}=` there: {','.join(missing)}",
    )


def _by_place(patient: Patient) -> dict[tuple[str, str | None], list[AppSeen]]:
    """Gather apps whose retry is missing or ends, by the place to mend."""
    found: dict[tuple[str, str | None], list[AppSeen]] = {}
    for each in patient.apps:
        if each.keeps_an_inbox and each.pubsub and (problem := _retry_problem(patient, each, each.pubsub)):
            found.setdefault(problem, []).append(each)
    return found


def _retry_problem(patient: Patient, each: AppSeen, pubsub: Resource) -> tuple[str, str | None] | None:
    """Return the place, and after how many tries it ends: None where there is no retry."""
    pages = [resource.document for resource in patient.loaded_by(each, "Resiliency")]
    for page in pages:
        target = page.at("spec", "targets", "components", pubsub.name, "inbound", "retry")
        for name in [str(target)] if target else _BY_DEFAULT:
            policy = page.at("spec", "policies", "retries", name)
            if isinstance(policy, dict):
                return _ending(patient, page, name, policy)
    return (patient.place(pages[0], "spec", "targets", "components", pubsub.name, "inbound") if pages else _beside(patient, pubsub)), None


def _ending(patient: Patient, page: Document, name: str, policy: Mapping[str, Any]) -> tuple[str, str] | None:
    most = policy.get("maxRetries", _ENDLESS)
    if most == _ENDLESS:
        return None
    return patient.place(page, "spec", "policies", "retries", name, "maxRetries"), f"{most} tries"


def _beside(patient: Patient, pubsub: Resource) -> str:
    return patient.short(pubsub.file.parent / "resiliency.yaml")

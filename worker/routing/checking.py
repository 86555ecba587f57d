"""What only shows when routes, templates, topics and accounts are held together."""

from collections.abc import Iterable

from pydantic import BaseModel

from schemas.events import EVENTS
from schemas.messages import Category, Lane
from worker.config_files import YamlFile
from worker.content.templates import Templates
from worker.delivery.accounts import Accounts
from worker.errors import Problem
from worker.policy.rules import Policy
from worker.routing.conditions import fields_of
from worker.routing.table import Route, RoutingTable, nearest
from worker.routing.texts import check_texts
from worker.settings import Intake, Settings

# CTIA, Messaging Principles: numbers only, in the United States and Canada.
NO_NAMES = frozenset({"US", "CA"})
CONTACT_VARIABLES = frozenset({"contact.first_name", "contact.last_name"})


def check(
    settings: Settings,
    worker_file: YamlFile,
    table: RoutingTable,
    templates: Templates,
    accounts: Accounts,
    policy: Policy,
    policy_file: YamlFile | None,
) -> list[Problem]:
    """Return every problem, and warnings, in the order of the files."""
    return [
        *_topics(settings, worker_file),
        *_urgent_routes(settings, table),
        *_variables(table, templates),
        *_categories_apart(templates),
        *_purposes(templates, policy),
        *_no_names_there(settings, worker_file),
        *_translations(templates),
        *check_texts(table, templates, accounts, policy, settings.delivery.countries),
        *_unused(table, templates),
        *_unguarded_codes(table),
        *_prices(policy, accounts, policy_file),
    ]


def _unguarded_codes(table: RoutingTable) -> Iterable[Problem]:
    for route in table.for_type("otp.requested"):
        if not route.template.guard:
            told = f"template {route.row.template} sends codes and says no `guard: true`: nothing watches it for fraud"
            yield table.file.problem((*_place(table, route), "template"), told, warning=True)


def _prices(policy: Policy, accounts: Accounts, file: YamlFile | None) -> Iterable[Problem]:
    """Money is counted by prices: who limits it must have said them."""
    if file is None:
        return
    limited: dict[tuple[str, ...], Category] = {("budgets", its.value): its for its in policy.budgets}
    if policy.guard.spend_per_hour is not None or policy.guard.spend_per_day is not None:
        limited["guard",] = Category.TRANSACTIONAL
    for place, category in limited.items():
        name, account = accounts.of(category)
        if account.price_per_segment is None:
            yield file.problem(place, f"needs price_per_segment of account {name}, which providers.yaml does not say")


def _topics(settings: Settings, file: YamlFile) -> Iterable[Problem]:
    for intake, its in settings.intakes.items():
        for index, topic in enumerate(its.topics):
            for name in topic.events:
                if name not in EVENTS:
                    place = ("intakes", intake.value, "topics", index, "events")
                    yield file.problem(place, f"found {name!r}; {nearest(name, EVENTS)}")


def _urgent_routes(settings: Settings, table: RoutingTable) -> Iterable[Problem]:
    """A code behind 60,000 promotions waits 15 seconds: an urgent route is fed by urgent topics alone."""
    fed_by = [
        (name, topic.name, intake)
        for intake, its in settings.intakes.items()
        for topic in its.topics
        for name in topic.events
    ]
    for route in _routes(table):
        feeds = [(topic, intake) for name, topic, intake in fed_by if name == route.row.event]
        place = _place(table, route)
        if not feeds:
            yield table.file.problem(
                (*place, "event"),
                f"no topic of worker.yaml lists {route.row.event} under events",
                warning=True,
            )
        if route.template.lane is not Lane.URGENT:
            continue
        for topic, intake in feeds:
            if intake is not Intake.URGENT:
                found = (
                    f"is urgent by its template {route.row.template}, but {topic} feeds it through the intake {intake}"
                )
                yield table.file.problem((*place, "event"), f"{found}; publish it to an urgent topic")


def _variables(table: RoutingTable, templates: Templates) -> Iterable[Problem]:
    """Every path that a template reads must exist in every event that is routed to it."""
    for name, template in templates.by_id.items():
        events = sorted({route.row.event for route in _routes(table) if route.row.template == name})
        for variable, its in template.variables.items():
            for event in events:
                known = _paths(EVENTS[event], "data") | CONTACT_VARIABLES | {"event.id", "event.type", "event.time"}
                if its.path not in known:
                    message = f"found {its.path!r}, which {event} has not; {nearest(its.path, dict.fromkeys(known))}"
                    yield templates.files[name].problem(("variables", variable), message)


def _purposes(templates: Templates, policy: Policy) -> Iterable[Problem]:
    for name, template in templates.by_id.items():
        if template.purpose is not None and template.purpose not in policy.purposes:
            told = f"found {template.purpose!r}; purposes of policy.yaml are {', '.join(policy.purposes)}"
            yield templates.files[name].problem(("purpose",), told)


def _no_names_there(settings: Settings, file: YamlFile) -> Iterable[Problem]:
    """Find countries whose operators carry no names as senders, where the provider has no numbers of one's own."""
    for country in sorted(settings.delivery.countries & NO_NAMES):
        told = f"{country} carries no names as senders, and octopush sends from no number of one's own; take it out"
        yield file.problem(("delivery", "countries"), told)


def _translations(templates: Templates) -> Iterable[Problem]:
    """Find languages that other templates have and one lacks: who reads them gets its first."""
    spoken = {locale for template in templates.by_id.values() for locale in template.text}
    for name, template in templates.by_id.items():
        for locale in sorted(spoken - template.text.keys()):
            if template.locale_for(locale).split("-")[0] == locale.split("-")[0]:
                continue
            told = f"has no {locale}, which other templates have: whoever reads it gets {next(iter(template.text))}"
            yield templates.files[name].problem(("text",), told, warning=True)


def _categories_apart(templates: Templates) -> Iterable[Problem]:
    """A sender or an account of both kinds: whoever stops the offers would stop the codes, and trusts neither."""
    transactional = {t.sender.upper(): name for name, t in templates.by_id.items() if t.purpose is None}
    for name, template in templates.by_id.items():
        if template.purpose is not None and (other := transactional.get(template.sender.upper())):
            message = f"{template.sender} also sends the transactional template {other}; give marketing its own sender"
            yield templates.files[name].problem(("sender",), message)


def _paths(model: type[BaseModel], prefix: str) -> set[str]:
    """Return the leaves of *model* and the groups they stand in (`data.total` for `data.total.amount`)."""
    leaves = set(fields_of(model, prefix))
    return leaves | {leaf.rsplit(".", 1)[0] for leaf in leaves if leaf.count(".") > 1}


def _unused(table: RoutingTable, templates: Templates) -> Iterable[Problem]:
    used = {route.row.template for route in _routes(table)}
    for name in templates.by_id:
        if name not in used:
            yield templates.files[name].problem((), "no route uses this template", warning=True)


def _routes(table: RoutingTable) -> Iterable[Route]:
    return [route for routes in table.by_type.values() for route in routes]


def _place(table: RoutingTable, route: Route) -> tuple[str | int, ...]:
    rows = table.file.content["routes"]
    return ("routes", next(index for index, row in enumerate(rows) if row["id"] == route.row.id))

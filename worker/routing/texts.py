"""What `check` says of texts: too long in the worst case, advertising where none may be, marketing without its needs."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from schemas.events import EVENTS
from schemas.messages import Category
from worker.content.advertising import find_advertising
from worker.content.marketing import Remark, check_marketing
from worker.content.rendering import compile_text, render
from worker.content.templates import Template, Templates
from worker.content.worst_case import DEAREST, Worst, combinations, worst_case, written
from worker.delivery.accounts import Accounts
from worker.errors import PermanentError, Problem
from worker.policy.rules import Policy
from worker.routing.bounds import Bound, bound_of, bounds_of
from worker.routing.table import RoutingTable


def check_texts(
    table: RoutingTable, templates: Templates, accounts: Accounts, policy: Policy, countries: Collection[str]
) -> Iterable[Problem]:
    """Yield what is wrong with each text, and what could be better."""
    for name, template in templates.by_id.items():
        bounds, stop = bounds_in(table, name, template), accounts.of(template.category)[1].stop_mention
        file = templates.files[name]
        found = [(("variables", variable), told) for variable, told in _missing(template, bounds)]
        found += [(("text", locale), told) for locale in template.text for told in _choices(template, locale, bounds)]
        if found:
            yield from (file.problem(place, told) for place, told in found)
            continue
        for locale in template.text:
            place = ("text", locale)
            try:
                body, others = _sample(template, locale, stop), _samples(template, locale, bounds)
                worst = worst_case(template, locale, values_to_try(template, bounds), free_of(bounds), stop)
            except PermanentError as error:
                yield file.problem(place, str(error))
                continue
            if template.category is Category.MARKETING:
                yield from (
                    file.problem(place, one.message, warning=one.warning)
                    for one in _marketing(template, body, worst, stop, policy, countries)
                )
            else:
                yield from (file.problem(place, told) for told in _advertises([body, *others], template))
            if told := _too_long(template, worst):
                yield file.problem(place, told)
            elif told := _dearest(template, worst):
                yield file.problem(place, told, warning=True)
        if template.category is Category.TRANSACTIONAL and not template.variables:
            yield file.problem(
                ("text",), "is the same for everybody; a transactional text names what it answers", warning=True
            )


def bounds_in(table: RoutingTable, name: str, template: Template) -> dict[str, Bound]:
    """Return what the variables of a template may be, by all events that are routed to it."""
    routes = (route for its in table.by_type.values() for route in its if route.row.template == name)
    return bounds_of(template, [EVENTS[event] for event in sorted({route.row.event for route in routes})])


def values_to_try(template: Template, bounds: Mapping[str, Bound]) -> dict[str, list[Any]]:
    """Return every value that each variable is to be tried with."""
    tried: dict[str, list[Any]] = {}
    for name, variable in template.variables.items():
        bound = bounds.get(name)
        its = list(bound.values) if bound else [sample_of(template, name)]
        if name == template.shortened:
            its = [""]
        tried[name] = its + ([variable.default] if variable.has_default and variable.default not in its else [])
    return tried


def sample_of(template: Template, name: str) -> Any:
    """Return a sample of a variable: what the template says, or something of its kind."""
    variable = template.variables[name]
    if variable.sample is not None:
        return variable.sample
    bounds = (bound_of(variable, model) for model in EVENTS.values())
    return next((bound.values[0] for bound in bounds if bound is not None), "x")


def sample_values(template: Template) -> dict[str, Any]:
    """Return a value for each variable: its sample, or something of its kind."""
    return {name: sample_of(template, name) for name in template.variables}


def free_of(bounds: Mapping[str, Bound]) -> list[str]:
    """Return the variables that may hold any script."""
    return [name for name, bound in bounds.items() if bound.free]


def _missing(template: Template, bounds: Mapping[str, Bound]) -> Iterable[tuple[str, str]]:
    for name, bound in bounds.items():
        variable = template.variables[name]
        if bound.optional and not variable.has_default:
            yield name, f"{variable.path} may be left out by the event; give it a default"
        if bound.unbounded:
            yield name, f"{variable.path} has no longest length in its event's model; say `longest:`"


def _choices(template: Template, locale: str, bounds: Mapping[str, Bound]) -> Iterable[str]:
    """Find values of an enum that a text tells apart from others, and has no words for."""
    source = template.text[locale]
    for name, bound in bounds.items():
        named = [choice for choice in bound.choices if f"'{choice}'" in source or f'"{choice}"' in source]
        if named and "{% else" not in source and len(named) < len(bound.choices):
            lacking = ", ".join(choice for choice in bound.choices if choice not in named)
            yield f"has no words for {name} {lacking}; write them, or an {{% else %}}"


def _sample(template: Template, locale: str, stop: str) -> str:
    variables = sample_values(template)
    if template.category is Category.MARKETING:
        variables["stop"] = stop
    return render(compile_text(template.text[locale]), variables, locale=locale, zone="Europe/Paris")


def _samples(template: Template, locale: str, bounds: Mapping[str, Bound]) -> list[str]:
    """Return the text for every value of an enum, and with each default: advertising may stand in any branch."""
    tried: dict[str, list[Any]] = {}
    for name, variable in template.variables.items():
        choices = bounds[name].choices if name in bounds else ()
        tried[name] = [*choices] or [sample_of(template, name)]
        tried[name] += [variable.default] if variable.has_default and variable.default not in tried[name] else []
    return [written(template, locale, values, "") for values in combinations(tried)]


def _marketing(
    template: Template, body: str, worst: Worst, stop: str, policy: Policy, countries: Collection[str]
) -> Iterable[Remark]:
    if stop not in worst.body:
        return [Remark(f"has no STOP mention; write {{{{ stop }}}} ({stop!r}) into it", warning=False)]
    names = [
        str(its.sample)
        for its in template.variables.values()
        if its.path.startswith("contact.") and its.sample is not None
    ]
    return check_marketing(body, stop, policy.brands, countries, names)


def _advertises(bodies: Iterable[str], template: Template) -> Iterable[str]:
    told = dict.fromkeys(
        f"{body[one.start : one.end]!r} ({one.reason})"
        for body in dict.fromkeys(bodies)
        for one in find_advertising(body, template.not_advertising)
    )
    if told:
        yield f"advertises, and is transactional: {', '.join(told)}; leave it out, or list a phrase under not_advertising"


def _dearest(template: Template, worst: Worst) -> str | None:
    dearest, of_people = worst.dearest, any(v.path.startswith("contact.") for v in template.variables.values())
    if template.category is Category.MARKETING and not of_people:
        return None  # its words are its emitter's own, who hears of it by the dead letter
    if dearest is None or template.on_too_long == "allow" or dearest.segments <= template.max_segments:
        return None
    return (
        f"with values of other characters (as {DEAREST[template.charset]}) it takes up to {dearest.segments} segments in "
        f"{dearest.encoding}, and max_segments is {template.max_segments}: it becomes a dead letter; say on_too_long: "
        "shorten VARIABLE, or allow"
    )


def _too_long(template: Template, worst: Worst) -> str | None:
    if worst.cut.segments <= template.max_segments or template.on_too_long == "allow":
        return None
    forced = f"; {', '.join(worst.forced_by)} forces UCS-2" if worst.forced_by else ""
    length = f"{worst.cut.units} characters in {worst.cut.encoding}, {worst.cut.segments} segments{forced}"
    return (
        f"can become {length}; max_segments is {template.max_segments}. Shorten it, say `longest:` of a variable, "
        "`on_too_long: shorten VARIABLE`, or raise max_segments"
    )

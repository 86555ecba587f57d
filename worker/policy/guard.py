"""
The abuse guard for login codes: what it says of one more code, as a pure function of what was sent lately.

Bots have codes sent to blocks of adjacent numbers, in countries where nobody types them in, and share the revenue (SMS
pumping). So codes are watched by country, by number, among neighbours, by how many are verified, and by money.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from worker.policy.caps import Counted, caps_of, free_at
from worker.policy.rules import ConversionRule, GuardRules
from worker.policy.verdicts import Reason

SCOPE = "codes:"  # what a guarded text counts as, under its number
REQUESTED, VERIFIED, ANY_VERIFIED, SPENT = "codes:requested:", "codes:verified:", "codes:verified", "codes:spent"


class Rule(StrEnum):
    """What it looks at; the metric's label."""

    COUNTRY = "country"
    NUMBER = "number"
    NEIGHBOURS = "neighbours"
    CONVERSION = "conversion"
    SPEND = "spend"


REASON_OF = {
    Rule.COUNTRY: Reason.GUARD_COUNTRY,
    Rule.NUMBER: Reason.GUARD_NUMBER,
    Rule.NEIGHBOURS: Reason.GUARD_NEIGHBOURS,
    Rule.CONVERSION: Reason.GUARD_CONVERSION,
    Rule.SPEND: Reason.GUARD_SPEND,
}


@dataclass(frozen=True, slots=True)
class Watched:
    """
    A code that is to be sent.

    Attributes:
        rules: By which it is judged.
        block: Keyed hash of what its number and its neighbours have in common.
        country: ISO 3166 of its number.
        cost: Estimated, in the account's currency; 0 where there is no price.
    """

    rules: GuardRules
    block: str
    country: str
    cost: float = 0.0

    def scopes(self, person: str) -> dict[Rule, str]:
        """Return under which name each rule's block, or leave, is kept."""
        country = f"country:{self.country}"
        return {
            Rule.COUNTRY: country,
            Rule.NUMBER: f"number:{person}",
            Rule.NEIGHBOURS: f"block:{self.block}",
            Rule.CONVERSION: country,
            Rule.SPEND: "spend",
        }


class Standing(NamedTuple):
    """What was decided of a scope before: seconds since 1970; 0 for never."""

    blocked_until: float
    allowed_until: float
    reason: str = ""


class Tally(NamedTuple):
    """
    How much came together lately.

    Attributes:
        settled_hour: Within the last hour, but for what is too new to have come to anything.
        settled_day: The same for 24 hours.
        recent: Within ten minutes.
    """

    hour: float = 0.0
    day: float = 0.0
    settled_hour: float = 0.0
    settled_day: float = 0.0
    recent: float = 0.0


NOTHING, NEVER = Tally(), Standing(0.0, 0.0)


class Finding(NamedTuple):
    """A rule speaks against a code; *is_new*: it blocks its scope from now on."""

    rule: Rule
    scope: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Lately:
    """
    What was sent lately, as the fence reads it.

    Attributes:
        tallies: By name.
        neighbours: By block: when each number of it got a code last, by keyed hash.
        standings: By scope.
    """

    tallies: Mapping[str, Tally]
    neighbours: Mapping[str, Mapping[str, float]]
    standings: Mapping[str, Standing]


def find(
    watched: Watched, person: str, message_id: str, counted: Sequence[Counted], lately: Lately, now: float
) -> Finding | None:
    """
    Return what speaks against a code, if anything does.

    Args:
        watched: The code.
        person: Keyed hash of its number.
        message_id: Which never counts against itself.
        counted: What the number got lately.
        lately: What everybody got.
        now: Seconds since 1970, by the database's clock.
    """
    scopes = watched.scopes(person)
    for rule, scope in scopes.items():
        standing = lately.standings.get(scope, NEVER)
        if standing.allowed_until > now:
            continue
        if standing.blocked_until > now and standing.reason == REASON_OF[rule]:
            return Finding(rule, scope, is_new=False)
        on_trial = (
            rule is Rule.CONVERSION and standing.reason == REASON_OF[rule] and now < _trial_until(standing, watched)
        )
        if not on_trial and _speaks_against(rule, watched, person, message_id, counted, lately, now):
            return Finding(rule, scope, is_new=rule not in (Rule.COUNTRY, Rule.NUMBER))
    return None


def _trial_until(standing: Standing, watched: Watched) -> float:
    """Return until when a country that was blocked goes on trial: only codes that go again can show that they come."""
    return standing.blocked_until + watched.rules.block_for.total_seconds()


def _speaks_against(
    rule: Rule, watched: Watched, person: str, message_id: str, counted: Sequence[Counted], lately: Lately, now: float
) -> bool:
    rules, tallies = watched.rules, lately.tallies
    match rule:
        case Rule.COUNTRY:
            return rules.countries is not None and watched.country not in rules.countries
        case Rule.NUMBER:
            return free_at(caps_of(SCOPE, rules.numbers), counted, message_id, now) is not None
        case Rule.NEIGHBOURS:
            others = [at for name, at in lately.neighbours.get(watched.block, {}).items() if name != person]
            return any(sum(at > now - one.per.total_seconds() for at in others) >= one.most for one in rules.neighbours)
        case Rule.CONVERSION:
            return _converts_badly(rules, watched.country, tallies)
        case Rule.SPEND:
            spent = tallies.get(SPENT, NOTHING)
            mosts = ((spent.hour, rules.spend_per_hour), (spent.day, rules.spend_per_day))
            return any(most is not None and so_far + watched.cost > most for so_far, most in mosts)


def _converts_badly(rules: GuardRules, country: str, tallies: Mapping[str, Tally]) -> bool:
    if (
        tallies.get(ANY_VERIFIED, NOTHING).recent == 0
    ):  # nobody publishes `otp.verified`, or it lags: nothing to judge by
        return False
    requested, verified = tallies.get(REQUESTED + country, NOTHING), tallies.get(VERIFIED + country, NOTHING)

    def bad(rule: ConversionRule, sent: float, came: float) -> bool:
        return sent >= rule.least and came < rule.share * sent

    return bad(rules.hour, requested.settled_hour, verified.hour) or bad(rules.day, requested.settled_day, verified.day)

"""The abuse guard for codes, rule by rule, and within one batch."""

from datetime import timedelta

import pytest

from tests.builders import ask
from worker.delivery.watching import Watch
from worker.policy.caps import Counted
from worker.policy.guard import ANY_VERIFIED, REQUESTED, SPENT, VERIFIED, Lately, Rule, Standing, Tally, Watched, find
from worker.policy.rules import CapRule, GuardRules
from worker.policy.verdicts import Reason, Refuse

NOW = 1_000_000.0
RULES = GuardRules(mode="enforce", spend_per_hour=5.0, spend_per_day=20.0)
NEW = Lately({}, {}, {})


def code(**changes) -> Watched:
    return Watched(**{"rules": RULES, "block": "b1", "country": "FR", "cost": 0.05, **changes})


def found(watched: Watched | None = None, counted=(), **lately) -> Rule | None:
    its = find(
        watched or code(),
        "p-1",
        "m-1",
        counted,
        NEW.__class__(**{"tallies": {}, "neighbours": {}, "standings": {}, **lately}),
        NOW,
    )
    return its and its.rule


def got(*ago_s: float) -> list[Counted]:
    return [Counted(f"m-{n + 10}", "codes:otp_code:", NOW - ago) for n, ago in enumerate(ago_s)]


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ([], None), (got(29), Rule.NUMBER), (got(31), None), (got(31, 100, 200, 300), None),
        (got(31, 100, 200, 300, 400), Rule.NUMBER), (got(31, 100, 200, 300, 3_601), None),
        (got(*range(4_000, 80_000, 8_000)), Rule.NUMBER), (got(*range(4_000, 76_000, 8_000)), None),
    ],
)  # fmt: skip
def test_a_number_gets_one_code_in_30_seconds_five_an_hour_ten_a_day(counted, expected) -> None:
    assert found(counted=counted) is expected


def test_a_text_that_is_no_code_is_not_counted_among_them_and_a_message_never_counts_against_itself() -> None:
    others = [Counted("m-2", "transactional:order_shipped:", NOW - 1), Counted("m-1", "codes:otp_code:", NOW - 1)]

    assert found(counted=others) is None


@pytest.mark.parametrize(
    ("count", "ago_s", "expected"),
    [
        (9, 60, None),
        (10, 60, Rule.NEIGHBOURS),
        (10, 601, None),
        (24, 601, None),
        (25, 601, Rule.NEIGHBOURS),
        (25, 3_601, None),
    ],
)
def test_neighbouring_numbers_are_counted_each_once_and_not_the_number_itself(count, ago_s, expected) -> None:
    numbers = {f"q-{n}": NOW - ago_s for n in range(count)}

    assert found(neighbours={"b1": numbers | {"p-1": NOW - 700}}) is expected
    assert found(neighbours={"b2": numbers}) is None


@pytest.mark.parametrize(
    ("requested", "verified", "ever", "expected"),
    [
        ((20, 0), (3, 0), 5, Rule.CONVERSION), ((20, 0), (4, 0), 5, None), ((19, 0), (0, 0), 5, None), ((20, 0), (0, 0), 0, None),
        ((0, 50), (0, 9), 5, Rule.CONVERSION), ((0, 50), (0, 10), 5, None), ((0, 49), (0, 0), 5, None),
    ],
)  # fmt: skip
def test_a_country_where_hardly_any_code_is_typed_in_is_blocked_if_anybody_says_which_are(
    requested, verified, ever, expected
) -> None:
    tallies = {
        REQUESTED + "FR": Tally(settled_hour=requested[0], settled_day=requested[1]),
        VERIFIED + "FR": Tally(hour=verified[0], day=verified[1]), ANY_VERIFIED: Tally(recent=ever),
    }  # fmt: skip

    assert found(tallies=tallies) is expected
    assert found(code(country="BE"), tallies=tallies) is None


def test_after_a_block_a_country_is_on_trial_for_as_long() -> None:
    tallies = {REQUESTED + "FR": Tally(settled_hour=50), ANY_VERIFIED: Tally(recent=1)}
    was = {"country:FR": Standing(NOW - 60, 0.0, Reason.GUARD_CONVERSION)}
    long_ago = {"country:FR": Standing(NOW - 1_801, 0.0, Reason.GUARD_CONVERSION)}

    assert found(tallies=tallies, standings=was) is None
    assert found(tallies=tallies, standings=long_ago) is Rule.CONVERSION


def test_codes_too_new_to_have_been_typed_in_speak_against_nobody() -> None:
    tallies = {REQUESTED + "FR": Tally(hour=500, day=500), ANY_VERIFIED: Tally(recent=1)}

    assert found(tallies=tallies) is None


def test_codes_may_cost_so_much_an_hour_and_a_day_and_not_a_cent_more() -> None:
    assert found(tallies={SPENT: Tally(hour=4.95, day=4.95)}) is None
    assert found(tallies={SPENT: Tally(hour=4.96, day=4.96)}) is Rule.SPEND
    assert found(tallies={SPENT: Tally(hour=0, day=19.96)}) is Rule.SPEND


def test_codes_go_to_listed_countries_only() -> None:
    rules = GuardRules(mode="enforce", countries=frozenset({"FR"}))

    assert found(code(rules=rules)) is None
    assert found(code(rules=rules, country="KM")) is Rule.COUNTRY


def test_a_block_lasts_and_what_an_operator_allowed_passes_whatever_else_is_said() -> None:
    many = {"b1": {f"q-{n}": NOW for n in range(50)}}
    blocked = {"block:b1": Standing(NOW + 1, 0.0, Reason.GUARD_NEIGHBOURS)}
    over = {"block:b1": Standing(NOW - 1, 0.0, Reason.GUARD_NEIGHBOURS)}
    allowed = {"block:b1": Standing(0.0, NOW + 1, "allowed")}

    assert found(standings=blocked) is Rule.NEIGHBOURS
    assert found(standings=over) is None
    assert found(neighbours=many, standings=allowed) is None


def test_within_a_batch_each_code_counts_for_the_next_and_the_eleventh_neighbour_is_refused() -> None:
    watch = Watch(NEW, NOW)
    verdicts = []
    for number in range(12):
        one = ask(f"m-{number}", person=f"p-{number}", watched=code())
        verdicts.append(watch.verdict(one, ()))
        if verdicts[-1] is None:
            watch.goes(one)

    assert verdicts[:10] == [None] * 10
    assert [its.reason for its in verdicts[10:] if isinstance(its, Refuse)] == [Reason.GUARD_NEIGHBOURS] * 2
    assert [one.finding.is_new for one in watch.found] == [True, False]  # one block, and then it holds


def test_who_only_observes_refuses_nothing_and_tells_everything() -> None:
    watch = Watch(Lately({}, {"b1": {f"q-{n}": NOW for n in range(10)}}, {}), NOW)
    rules = GuardRules(mode="observe")

    one = ask(person="p-1", watched=code(rules=rules))
    assert [watch.verdict(one, ()) for _ in range(3)] == [None] * 3  # it waits for its rate meanwhile
    assert watch.found == []
    watch.goes(one)
    assert [(one.finding.rule, one.refused) for one in watch.found] == [(Rule.NEIGHBOURS, False)]
    assert Watch(NEW, NOW).verdict(ask(person="p-1", watched=code(rules=GuardRules(mode="off"))), got(1)) is None


def test_neighbours_are_remembered_for_a_day_only() -> None:
    with pytest.raises(ValueError, match="at most 24h"):
        GuardRules(neighbours=(CapRule(most=5, per=timedelta(days=2)),))

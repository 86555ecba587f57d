"""
What became of a record or a message, or would have at some time: the real state, the real checks, no side effect.

As of a time that is past, acts and suppressions are those that were known by then; everything else is as it is today,
and is marked so.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from schemas.messages import Category, Lane, Message
from worker.answers.explaining import Explanation, explain_decision
from worker.answers.finding import find_places
from worker.answers.proving import suppressions_at
from worker.answers.sources import CLOCK, STORE, Sources
from worker.answers.steps import ExplainedMessage, Step, explain_message, place_of
from worker.delivery.asks import Ask
from worker.delivery.fence import View
from worker.delivery.superseding import is_superseded
from worker.errors import ConfigurationError, PermanentError, Problem
from worker.kafka.backlog import unfinished
from worker.kafka.scanning import fetch_records
from worker.messages import read_message
from worker.people import Known
from worker.policy.caps import free_at
from worker.policy.checking import Checked, Checking
from worker.policy.consent import Act, DatedAct
from worker.policy.verdicts import CHECK_OF, ConsentPlace, Refuse, Send, Verdict
from worker.records import Place, Record
from worker.routing.deciding import Deciding, Routed
from worker.routing.table import nearest
from worker.state.foreseeing import Foreseeing, says
from worker.state.lookup import Lookup, Question
from worker.state.persons import Person, Persons
from worker.state.waiting import Waiting
from worker.tools import Tools

PAST = frozenset({"consent", "suppression", "expiry"})  # checks whose inputs are known as of any time


class Retracing:
    """
    Explains what is on Kafka.

    Args:
        tools: Everything open.
        at: As of when; None for now.
    """

    def __init__(self, tools: Tools, at: datetime | None) -> None:
        self._tools = tools
        self._at = at
        self._now = at or tools.clock.now()
        self._configuration = tools.configuration
        self._sources = Sources(tools.configuration)
        self._checking = Checking.of(tools.configuration, tools.pepper)
        accounts = {category: tools.configuration.accounts.of(category)[1] for category in Category}
        self._accounts = accounts
        self._foreseeing = Foreseeing(tools.database, self._checking, accounts)
        self._persons = Persons(tools.database, tools.people)

    async def record_at(self, place: Place) -> Explanation:
        """
        Return what the record at *place* becomes: an event of an input topic, or a message on a lane.

        Raises:
            ConfigurationError: There is no such record any more, or it is no topic that is read.
            BrokerUnavailable: Kafka does not answer.
        """
        found = await fetch_records(self._configuration.settings.kafka, [place])
        if place not in found:
            told = f"{place.topic}/{place.partition}/{place.offset} is not there, or no longer"
            raise ConfigurationError([Problem("--topic", None, "", told)])
        lanes = {name for lane in Lane for name in (self._tools.topics.lane(lane), self._tools.topics.lane_due(lane))}
        if place.topic in lanes:
            return await self._message(found[place])
        return await self._event(found[place])

    async def message(self, message_id: str, since: datetime) -> Explanation:
        """
        Return what a message becomes, wherever it is: told by an outcome, waiting, or still on its lane.

        Raises:
            ConfigurationError: Nothing is known of it.
            BrokerUnavailable: Kafka does not answer.
        """
        settings, topics = self._configuration.settings.kafka, self._tools.topics
        if (waits := await Waiting(self._tools.database).message(message_id)) is not None:
            return await self._message(Record("deferred", 0, 0, 0, None, waits, ()))
        for place in await find_places(settings, topics.outcomes, since, message_id):
            found = await fetch_records(settings, [place])
            if place in found:
                return await self._message(found[place])
        async for record in unfinished(settings, topics.lane_groups()):
            if message_id.encode() in (record.value or b"") and _id_of(record) == message_id:
                return await self._message(record)
        told = (
            f"nothing is known of {message_id}: no outcome since {since:%Y-%m-%d}, it does not wait, and is on no lane"
        )
        raise ConfigurationError([Problem("--message-id", None, "", told)])

    async def _event(self, record: Record) -> Explanation:
        settings = self._configuration.settings
        inputs = {topic.name: (intake, topic) for intake, its in settings.intakes.items() for topic in its.topics}
        if record.topic not in inputs:
            told = f"{record.topic!r} is not read; {nearest(record.topic, inputs)}"
            raise ConfigurationError([Problem("--topic", None, "", told)])
        intake, topic = inputs[record.topic]
        table = self._configuration.table
        deciding = Deciding(intake, settings.deployment, {topic.name: topic}, table, self._tools.pepper)
        read = deciding.read(record, self._tools.clock.now())
        known = await self._tools.people.load_or_make_up(read.subjects())
        decision = deciding.decide(read, known)
        messages = decision.messages if isinstance(decision, Routed) else []
        explained = [await self._explain(message) for message in messages]
        return explain_decision(self._configuration, read, decision, explained)

    async def _message(self, record: Record) -> Explanation:
        try:
            message = read_message(record)
        except PermanentError as error:
            return Explanation(None, "dead_lettered", place_of(error))
        return Explanation(message.event.type, "routed", None, [await self._explain(message)])

    async def _explain(self, message: Message) -> ExplainedMessage:
        lookup = Lookup(self._tools.database, self._tools.people)
        (found,) = await lookup.find([Question(message.id, message.recipient)])
        ended = _told(found.entry.outcome) if found.entry and found.entry.outcome else None
        known = found.known
        # The checks are pure; what the fence would read is read first, as far as they let the message go.
        ask, view = await self._look(message, known)

        def fence(message: Message, checked: Checked) -> tuple[Verdict, list[Step]]:
            del checked
            if ask is None or view is None:
                return Send(), []
            verdict = says(ask, view, self._accounts[message.category].start_window_s)
            return verdict, self._steps(message, ask, view, verdict)

        told = explain_message(
            message, known, self._checking, self._sources, self._now, fence, waits_first=self._at is None
        )
        steps = [replace(step, today=self._at is not None and step.check not in PAST) for step in told.steps]
        return replace(told, steps=steps, came_of_it=ended)

    async def _look(self, message: Message, known: Known) -> tuple[Ask | None, View | None]:
        now = max(self._now, message.not_before) if self._at is None and message.not_before else self._now
        try:
            checked = self._checking.check(message, known, now)
        except PermanentError:
            return None, None
        if checked.text is None:
            return None, None
        ask, view = await self._foreseeing.look(message, checked, now)
        if self._at is None or ask.person is None:
            return ask, view
        return ask, _as_of(view, await self._persons.read(ask.person), self._at)

    def _steps(self, message: Message, ask: Ask, view: View, verdict: Verdict) -> list[Step]:
        """Return what the fence looked at, in its order."""
        sources, steps = self._sources, list[Step]()
        if ask.unless:
            gone = is_superseded(ask.unless, view.seen, ask.event_at)
            names = f"{len(ask.unless)} kinds of event"
            steps.append(
                Step("unless", names, "superseded" if gone else "none happened", sources.route(message, "unless"))
            )
        if view.cancelled:
            steps.append(Step("cancelled", ", ".join(view.cancelled), "by an operator", STORE))
        if ask.person is None:
            return steps
        suppressed = view.suppressions.get(ask.person, ())
        said = ", ".join(f"{one.reason} ({one.scope})" for one in suppressed) or "none"
        steps.append(Step("suppression", said, _answer(verdict, "suppression", "passes"), STORE))
        if ask.purpose is not None:
            acts = sorted(view.acts.get(ask.person, ()), key=lambda act: act.at)
            told = ", ".join(f"{act.act} {act.purpose} {_time(act.at)}" for act in acts) or "no act"
            steps.append(Step("consent", told, _answer(verdict, "consent", "yes"), _place(verdict, acts)))
        counted = view.counted.get(ask.person, ())
        for cap in ask.limits.caps:
            free = free_at((cap,), counted, ask.message_id, view.now)
            lately = sum(one.scope.startswith(cap.scope) and one.at > view.now - cap.seconds for one in counted)
            rule = f"{cap.scope.rstrip(':')}, {lately} of {cap.most} in {cap.seconds / 3600:g} h"
            answer = "free" if free is None else f"full until {_time(free)}"
            steps.append(Step("caps", rule, answer, f"{sources.policy('caps')}; {CLOCK}"))
        if ask.limits.watched is not None:
            its = f"{ask.limits.watched.country}, {ask.limits.watched.rules.mode}"
            steps.append(Step("guard", its, _answer(verdict, "guard", "passes"), sources.policy("guard")))
        if (budget := self._checking.budget(message)) is not None:
            shares = [f"{share:.0%} of the {period}" for period, share in budget.shares(view.spent, view.now).items()]
            all_spent = budget.is_spent(view.spent, ask.limits.cost or 0.0, view.now)
            answer = (
                "passes"
                if not all_spent
                else "holds until there is more"
                if budget.holds
                else "spent, goes all the same"
            )
            steps.append(
                Step(
                    "budget",
                    f"{', '.join(shares)} is spent",
                    answer,
                    f"{sources.policy('budgets', message.category)}; {CLOCK}",
                )
            )
        return steps


def _answer(verdict: Verdict, check: str, passes: str) -> str:
    return f"no: {verdict.reason}" if isinstance(verdict, Refuse) and CHECK_OF[verdict.reason] == check else passes


def _place(verdict: Verdict, acts: Sequence[DatedAct]) -> str:
    """Return where the record of the act stands that decided."""
    place: ConsentPlace | None = verdict.consent if isinstance(verdict, Send) else None
    if place is None and acts:
        place = acts[-1].place
    return f"{place.topic}/{place.partition}/{place.offset}" if place else STORE


def _as_of(view: View, person: Person, at: datetime) -> View:
    """Return *view* with what was known of a person at *at*; the guard keeps no history."""
    known = [act for act in person.acts if act.at <= at.timestamp() and act.recorded_at <= at.timestamp()]
    acts = [
        DatedAct(Act(act.act), act.purpose, act.at, ConsentPlace(act.topic, act.partition, act.offset)) for act in known
    ]
    counted = [one for one in view.counted.get(person.person, ()) if one.at <= at.timestamp()]
    return replace(
        view,
        acts={person.person: acts},
        suppressions={person.person: suppressions_at(person, at)},
        counted={person.person: counted},
        cancelled={name: then for name, then in view.cancelled.items() if then <= at.timestamp()},
    )


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _told(outcome: bytes) -> dict[str, Any]:
    envelope = orjson.loads(outcome)
    return {"time": envelope["time"], **envelope["data"]}


def _id_of(record: Record) -> str | None:
    try:
        return read_message(record).id
    except PermanentError:
        return None

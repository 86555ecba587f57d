"""The sender's parts: accounts that several lanes share, a sender for each lane, and the mover."""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack

import structlog

from schemas.messages import Category, Lane
from worker.delivery.accounts import Account
from worker.delivery.attempts import Attempts
from worker.delivery.handover import Handover
from worker.delivery.queue import FenceQueue
from worker.delivery.verdicts import Provider
from worker.errors import ConfigurationError
from worker.floods import Floods, template_scope
from worker.kafka.clients import make_producer
from worker.kafka.keyed import KeyedRunner
from worker.kafka.sink import open_sink
from worker.letters import LaneLetters
from worker.messages import message_in
from worker.mover import Mover
from worker.parts.pausing import hear_pauses, is_paused
from worker.parts.shared import DRAIN_S, URGENT_DRAIN_S, Shared, Stage, source_maker
from worker.policy.checking import Checking
from worker.providers.octopush import open_octopush
from worker.providers.simulation import Simulation
from worker.records import Record
from worker.routing.loading import Configuration
from worker.sender import Sender
from worker.settings import DeliveryMode
from worker.state.batching import hold_until_back
from worker.state.fence import FenceStore
from worker.state.holding import HoldingPeople, HoldingWaiting
from worker.state.hygiene import Hygiene
from worker.state.lookup import BatchedLookup
from worker.state.presence import Presence
from worker.state.settling import BatchedSettler
from worker.state.spending import Spending
from worker.state.waiting import Waiting
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
SAME_HOLD_S = 0.5


async def open_senders(shared: Shared, stage: Stage, lanes: Collection[Lane], stack: AsyncExitStack) -> None:
    """Add a sender for each of *lanes*."""
    configuration, settings = shared.configuration, shared.configuration.settings
    lookup = BatchedLookup(shared.database, shared.people)
    settler = BatchedSettler(shared.database, Hygiene(shared.database, shared.people))
    stage.services |= {"lookup": lookup.run, "settler": settler.run}
    handovers = await _open_accounts(shared, stage, settler, stack)

    def checks(configuration: Configuration) -> Checking:
        holds = lambda template: shared.operations.flood(template_scope(template)) is not None  # noqa: E731
        is_paused = lambda route: shared.pauses.of("route", route) is not None  # noqa: E731
        return Checking.of(configuration, shared.pepper, holds, is_paused)

    checking = checks(configuration)
    holds = hold_until_back("floods").wraps(shared.operating.hold)
    floods = Floods(holds, lambda scope: shared.operations.flood(scope) is not None)
    shared.operations.on_flood.append(floods.forget)
    queues, senders = {queue.name: queue for queue in stage.queues}, list[Sender]()
    for lane in lanes:
        name, topics = f"sender-{lane}", shared.topics
        sink = stage.sinks[name] = await stack.enter_async_context(open_sink(make_producer(settings.kafka)))
        people, letters_topic = HoldingPeople(shared.people), topics.lane_dead_letters(lane)
        letters = LaneLetters(lane, letters_topic, people, sink, shared.outcomes, shared.pepper, shared.clock)
        sender = Sender(lookup, checking, handovers, sink, shared.outcomes, letters, floods, shared.clock)
        senders.append(sender)
        due, urgent = topics.lane_due(lane), lane is Lane.URGENT
        stage.queue_of[name] = queues[configuration.accounts.of_lane(lane)[0]]
        stage.runners[name] = KeyedRunner(
            source_maker(shared, name, {due: "earliest", topics.lane(lane): "earliest"}, urgent=urgent, first=[due]),
            _counting(lane, _giving_up(shared, letters, sender.handle)),
            settings.lane(lane),
            revoke_drain_s=URGENT_DRAIN_S if urgent else DRAIN_S,
            commit_every_s=settings.kafka.commit_every_s,
        )
    await hear_pauses(shared, stage, stack)
    _adopt_reloads(shared, stage, senders, checks)
    waiting = HoldingWaiting(Waiting(shared.database))
    for lane in lanes:  # each by itself: codes that are due never wait for offers
        mover = Mover(lane, waiting, stage.sinks[f"sender-{lane}"], shared.topics, shared.clock)
        stage.services[f"mover-{lane}"] = mover.run


def _adopt_reloads(
    shared: Shared, stage: Stage, senders: Sequence[Sender], checks: Callable[[Configuration], Checking]
) -> None:
    """Let a new configuration's rules and budgets be everybody's, beginning with the one there is."""
    spending = Spending(shared.database, (), shared.clock)
    stage.services["budgets"] = spending.run

    def adopt(configuration: Configuration) -> None:
        new = checks(configuration)
        spending.budgets = new.budgets
        for fence in stage.fences:
            fence.budgets = {its.account: its for its in new.budgets}
        for sender in senders:
            sender.adopt(new)

    shared.reloading.adopters.append(adopt)
    adopt(shared.configuration)


def _giving_up(
    shared: Shared, letters: LaneLetters, handle: Callable[[Record], Awaitable[None]]
) -> Callable[[Record], Awaitable[None]]:
    """Return *handle*, which makes a dead letter of what an operator gave up."""

    async def handled(record: Record) -> None:
        if (error := shared.operations.given_up(record)) is None:
            await handle(record)
            return
        await letters.put(record, error, message_in(record))
        await hold_until_back("skips")(shared.operating.skipped, record.place)

    return handled


def _counting(lane: Lane, handle: Callable[[Record], Awaitable[None]]) -> Callable[[Record], Awaitable[None]]:
    read = metrics.child(metrics.MESSAGES_READ, lane)

    async def counted(record: Record) -> None:
        read.inc()
        await handle(record)

    return counted


async def _open_accounts(
    shared: Shared, stage: Stage, settler: BatchedSettler, stack: AsyncExitStack
) -> dict[Category, Handover]:
    """Open each account once, however many categories use it."""
    accounts, settings, clock = shared.configuration.accounts, shared.configuration.settings, shared.clock
    incarnation = uuid.uuid4().hex
    urgent = accounts.of_lane(Lane.URGENT)[0]
    others = FenceStore(shared.database, incarnation, settings.projection_max_age_s, [urgent])
    # What serves the urgent lane waits for nobody's connection.
    reserved = FenceStore(shared.database.urgent, incarnation, settings.projection_max_age_s, [urgent])
    stage.fences += [others, reserved]

    holders = (f"{incarnation}:{number}" for number in itertools.count())
    held_until: dict[str, float] = {}

    async def hold(name: str, seconds: float, reason: str) -> None:
        until = clock.monotonic() + seconds
        if until < held_until.get(name, 0.0) + SAME_HOLD_S:  # a hundred requests fail at once, and one of them says so
            return
        metrics.child(metrics.ACCOUNT_HOLDS, name, reason).inc()
        log.warning("account.held", account=name, seconds=round(seconds, 2), reason=reason)
        held_until[name] = until
        try:
            await hold_until_back("hold")((reserved if name == urgent else others).hold, name, seconds, reason)
        except BaseException:
            held_until.pop(name, None)
            raise

    def forget_hold(scope: str) -> None:
        """An operator has released an account, or somebody holds it for good: what was known of its hold is over."""
        held_until.pop(scope.partition(":")[2], None)

    shared.operations.on_flood.append(forget_hold)
    opened: dict[str, Handover] = {}
    for name in dict.fromkeys(accounts.of(category)[0] for category in Category):
        account = accounts.accounts[name]
        await others.open_account(name)
        metrics.child(metrics.RATE, name).set(account.segments_per_second)
        fences = reserved if name == urgent else others
        queue = FenceQueue(name, account, fences, clock, is_paused(shared.pauses, name))
        provider = await _open_provider(shared, name, account, stack)
        opened[name] = Handover(holders, queue, Attempts(name, account, provider, clock, hold), settler, clock)
        stage.queues.append(queue)
        stage.before_scrape.append(opened[name].before_scrape)
        stage.services[f"fence-{name}"] = queue.run
    return {category: opened[accounts.of(category)[0]] for category in Category}


async def _open_provider(shared: Shared, name: str, account: Account, stack: AsyncExitStack) -> Provider:
    if shared.configuration.settings.delivery.mode is DeliveryMode.SIMULATE:
        return Simulation()
    used = account.credentials.read(name)
    provider = await stack.enter_async_context(open_octopush(account, used))
    presence = Presence(shared.database)
    await presence.note_api_key(name, shared.pepper.name("api-key", used[1].get_secret_value()))

    async def renew() -> None:
        """Take a rotated key over; a file that is away, or empty, changes nothing."""
        nonlocal used
        try:
            now = await asyncio.to_thread(account.credentials.read, name)
        except ConfigurationError as error:
            log.warning("credentials.unreadable", account=name, error=str(error))
            return
        if now != used:
            used = now
            provider.renew(now)
            log.info("credentials.renewed", account=name)
            key = shared.pepper.name("api-key", now[1].get_secret_value())
            await hold_until_back("api-key")(presence.note_api_key, name, key)

    shared.reloading.watchers.append(renew)
    return provider

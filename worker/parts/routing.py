"""The router's parts: one for each intake that has topics."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack

from worker.clock import Clock
from worker.kafka.batched import BatchRunner, Handle
from worker.kafka.clients import make_producer
from worker.kafka.sink import Sink, open_sink
from worker.kafka.source import Source
from worker.parts.shared import DRAIN_S, URGENT_DRAIN_S, Shared, Stage, source_maker
from worker.records import Record
from worker.replaying.returning import ReplayRouter
from worker.router import GivingUp, Router
from worker.routing.deciding import Deciding
from worker.routing.loading import Configuration
from worker.settings import Intake
from worker.state.batching import hold_until_back
from worker.state.guarding import Guarding
from worker.state.holding import HoldingMemory, HoldingPeople, HoldingProjector
from worker.state.projection import Projector
from worker.state.waiting import SeenEvents

CAUGHT_UP_EVERY_S, FIRST_EVERY_S = 2.0, 0.2
REPLAYS_AT_ONCE = 50


async def open_router(shared: Shared, stage: Stage, intakes: Collection[Intake], stack: AsyncExitStack) -> None:
    """
    Add a router for each of *intakes* that has topics, and one for dead letters on their way back.

    A process that routes nothing but urgent events leaves the dead letters to others.
    """
    settings = shared.configuration.settings
    projector = Projector(shared.database, shared.people, shared.pepper)
    control = settings.intakes.get(Intake.CONTROL)
    if control is not None and control.topics and await projector.begin([topic.name for topic in control.topics]):
        holding, since = HoldingProjector(projector), shared.clock.now().timestamp()
        stage.read_once = lambda partitions: holding.read_once(partitions, since)
    for intake, its in settings.intakes.items():
        if its.topics and intake in intakes:
            sink = stage.sinks[intake] = await stack.enter_async_context(open_sink(make_producer(settings.kafka)))
            telling = _telling(HoldingProjector(projector), shared.clock, stage) if intake is Intake.CONTROL else None
            urgent, starts = intake is Intake.URGENT, {topic.name: topic.start for topic in its.topics}
            stage.runners[intake] = BatchRunner(
                source_maker(shared, f"router-{intake}", starts, urgent=urgent),
                noting_skips(
                    shared, _router(shared, intake, intake, projector, sink, shared.operations.given_up).handle
                ),
                poll_records=its.poll_records,
                revoke_drain_s=URGENT_DRAIN_S if urgent else DRAIN_S,
                commit_every_s=settings.kafka.commit_every_s,
                after_poll=telling,
            )
    if set(intakes) == {Intake.URGENT}:
        return
    sink = stage.sinks["replay"] = await stack.enter_async_context(open_sink(make_producer(settings.kafka)))
    stage.runners["replay"] = BatchRunner(
        source_maker(shared, "router-replay", {shared.topics.replay: "earliest"}, urgent=False),
        noting_skips(shared, _replay_router(shared, projector, sink).handle),
        poll_records=REPLAYS_AT_ONCE,
        revoke_drain_s=DRAIN_S,
        commit_every_s=settings.kafka.commit_every_s,
    )


def _replay_router(shared: Shared, projector: Projector, sink: Sink) -> ReplayRouter:
    intakes = shared.configuration.settings.intakes
    routers = {intake: _router(shared, "replay", intake, projector, sink, lambda _: None) for intake in intakes}
    of_topic = {topic.name: intake for intake, its in intakes.items() for topic in its.topics}
    letters = shared.topics.router_dead_letters
    return ReplayRouter(HoldingPeople(shared.people), of_topic, routers, sink, letters, shared.operations.given_up)


def _router(shared: Shared, name: str, intake: Intake, projector: Projector, sink: Sink, given_up: GivingUp) -> Router:
    settings = shared.configuration.settings
    inputs = {topic.name: topic for topic in settings.intakes[intake].topics}

    def deciding(configuration: Configuration) -> Deciding:
        return Deciding(intake, settings.deployment, inputs, configuration.table, shared.pepper)

    router = Router(
        name,
        deciding(shared.reloading.configuration),
        HoldingPeople(shared.people),
        HoldingProjector(projector),
        HoldingMemory(SeenEvents(shared.database), Guarding(shared.database)),
        sink,
        shared.topics,
        shared.outcomes,
        shared.pepper,
        shared.clock,
        given_up,
    )
    shared.reloading.adopters.append(lambda configuration: router.adopt(deciding(configuration)))
    return router


def noting_skips(shared: Shared, handle: Handle) -> Handle:
    """Return *handle*, which also notes that records that were given up have their dead letters."""

    async def noting(records: Sequence[Record]) -> Awaitable[object]:
        acknowledged = await handle(records)
        given_up = [record for record in records if shared.operations.given_up(record)]
        return _then_note(shared, acknowledged, given_up) if given_up else acknowledged

    return noting


async def _then_note(shared: Shared, acknowledged: Awaitable[object], given_up: Sequence[Record]) -> None:
    await acknowledged
    for record in given_up:
        await hold_until_back("skips")(shared.operating.skipped, record.place)


def _telling(projector: HoldingProjector, clock: Clock, stage: Stage) -> Callable[[Source], Awaitable[None]]:
    """Write down, every two seconds, up to when consent is known; more often while everything else waits for it."""
    told_at = float("-inf")

    async def tell(source: Source) -> None:
        nonlocal told_at
        every_s = FIRST_EVERY_S if stage.read_once else CAUGHT_UP_EVERY_S
        if clock.monotonic() - told_at >= every_s and (behind := source.standing.behind_s()):
            await projector.caught_up(behind, source.standing.partitions())
            told_at = clock.monotonic()

    return tell

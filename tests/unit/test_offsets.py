"""Which offset may be committed, and which record may be worked on."""

from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import record
from worker.kafka.scheduler import Scheduler
from worker.kafka.sink import partition_of
from worker.kafka.assigned import Assigned
from worker.kafka.tracker import OffsetTracker


@given(st.lists(st.integers(0, 500), unique=True, min_size=1, max_size=60), st.randoms())
def test_the_committed_offset_never_passes_unfinished_work_and_never_goes_back(offsets, random) -> None:
    offsets.sort()
    tracker, unfinished, last = OffsetTracker(offsets[0]), set(offsets), offsets[0]
    for offset in offsets:
        tracker.observe(offset)

    for offset in random.sample(offsets, len(offsets)):
        tracker.done(offset)
        unfinished.discard(offset)
        assert tracker.committable >= last
        assert tracker.committable <= min(unfinished, default=offsets[-1] + 1)
        last = tracker.committable

    assert tracker.committable == offsets[-1] + 1
    assert tracker.unfinished == 0


def test_gaps_do_not_hold_it_up() -> None:
    tracker = OffsetTracker(5)
    for offset in (5, 9, 40):
        tracker.observe(offset)
    for offset in (9, 5):
        tracker.done(offset)

    assert tracker.committable == 10


def assigned() -> Assigned:
    return Assigned(TopicPartition("sms.urgent", 0), 0)


KEYS = st.lists(st.sampled_from([b"a", b"b", b"c", None]), min_size=1, max_size=40)


@given(KEYS, st.randoms())
def test_one_record_of_a_key_at_a_time_in_order_and_none_is_forgotten(keys, random) -> None:
    scheduler, its, running, done = Scheduler(), assigned(), [], []
    for offset, key in enumerate(keys):
        scheduler.add(its, record(key=key, offset=offset))

    while len(done) < len(keys):
        while job := scheduler.next():
            assert job.key not in [other.key for other in running]
            running.append(job)
        job = running.pop(random.randrange(len(running)))
        scheduler.done(job)
        done.append(job)

    for key in (b"a", b"b", b"c"):
        offsets = [job.record.offset for job in done if job.key == key]
        assert offsets == sorted(offsets)
    assert (scheduler.active, scheduler.waiting, scheduler.waiting_bytes) == (0, 0, 0)


def test_a_record_delivered_again_waits_for_the_attempt_that_still_runs() -> None:
    scheduler, before, after = Scheduler(), assigned(), assigned()
    scheduler.add(before, record(key=b"a", offset=1))
    running = scheduler.next()
    before.lost = True

    scheduler.add(after, record(key=b"a", offset=1))
    assert scheduler.next() is None

    scheduler.done(running)
    assert scheduler.next().assigned is after


def test_what_waits_of_a_lost_assignment_is_dropped() -> None:
    scheduler, its = Scheduler(), assigned()
    scheduler.add(its, record(key=b"a", offset=1))
    its.lost = True

    assert scheduler.next() is None
    assert scheduler.waiting == 0


def test_the_partition_of_a_key_is_fixed_for_ever() -> None:
    # A change would reorder every recipient's messages across a deployment.
    assert [partition_of(key, 12) for key in (b"a", b"TfLe1ODmW3ThSkKLx8XOnA", b"", None)] == [3, 6, 0, 0]

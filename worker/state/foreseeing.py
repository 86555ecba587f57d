"""What the fence would say of a message now: its own rules on its own tables, nothing locked, and nothing written."""

from collections.abc import Mapping
from datetime import datetime

from schemas.messages import Category, Message
from worker.delivery.accounts import Account
from worker.delivery.asks import Ask
from worker.delivery.fence import View, verdict_of
from worker.delivery.superseding import told_apart
from worker.delivery.watching import Watch
from worker.policy.budget import names
from worker.policy.checking import Checked, Checking
from worker.policy.verdicts import Send, Verdict
from worker.state.acts import read_acts
from worker.state.cancelling import read_cancelled
from worker.state.counting import read_counted
from worker.state.database import Database
from worker.state.guarding import read_lately
from worker.state.tallying import read_sums
from worker.state.waiting import SeenEvents


class Foreseeing:
    """
    Says what the fence would.

    Args:
        accounts: By category.
    """

    def __init__(self, database: Database, checking: Checking, accounts: Mapping[Category, Account]) -> None:
        self._database = database
        self._checking = checking
        self._accounts = accounts
        self._seen = SeenEvents(database)

    async def verdict(self, message: Message, checked: Checked, now: datetime) -> Verdict:
        """
        Return what the fence would say of *message* at *now*, on the tables as they are; its checks let it go.

        Raises:
            StateUnavailable: The database does not answer.
        """
        ask, view = await self.look(message, checked, now)
        return says(ask, view, self._accounts[message.category].start_window_s)

    async def look(self, message: Message, checked: Checked, now: datetime) -> tuple[Ask, View]:
        """
        Return what *message* would ask of the fence, and what the fence would read.

        Raises:
            StateUnavailable: The database does not answer.
        """
        ask = self._ask(message, checked)
        persons = {ask.person} if ask.person is not None else set[str]()
        at, budget = now.timestamp(), self._checking.budget(message)
        async with self._database.reading() as connection:
            acts, suppressed = await read_acts(connection, persons)
            view = View(
                now=at,
                tokens=0.0,
                refilled_at=at,
                held_until=0.0,
                live_claims=0,
                entries={},
                acts=acts,
                suppressions=suppressed,
                seen=await self._seen.read(connection, told_apart(ask.unless)),
                counted=await read_counted(connection, [ask], at),
                cancelled=await read_cancelled(connection, [ask]),
                projection_age_s=0.0,
                lately=await read_lately(connection, [ask], at),
                spent=await read_sums(connection, names(budget.account, at)) if budget else {},
            )
        return ask, view

    def _ask(self, message: Message, checked: Checked) -> Ask:
        return Ask(
            message_id=message.id,
            fingerprint=message.event.fingerprint,
            holder="foreseen",
            lane=message.lane,
            person=checked.person,
            purpose=self._checking.template(message).purpose,
            segments=checked.text.segmentation.segments if checked.text else 0,
            verdict=checked.verdict,
            expires_at=message.expires_at.timestamp(),
            queued_at=0.0,
            outcome=lambda *_: b"",
            event_at=message.event.time.timestamp(),
            step=message.step,
            unless=message.unless,
            limits=self._checking.limits(message, checked),
        )


def says(ask: Ask, view: View, start_window_s: float) -> Verdict:
    """Return what the fence says of *ask*, given what it reads."""
    verdict = verdict_of(ask, view, start_window_s)
    if not isinstance(verdict, Send):
        return verdict
    return Watch(view.lately, view.now).verdict(ask, view.counted.get(ask.person or "", ())) or verdict

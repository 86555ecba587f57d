"""Account security."""

from typing import ClassVar, Literal

from schemas.contract import Money, ShortText
from schemas.events.base import ForOne


class AccountAlert(ForOne):
    """Something happened on an account that its owner must know at once."""

    event_type: ClassVar[str] = "account.alert"

    kind: Literal["new_login", "password_changed", "card_blocked", "large_withdrawal"]
    device: ShortText | None = None
    amount: Money | None = None

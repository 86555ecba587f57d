"""`policy.yaml`: when marketing may be sent, and how often anybody may be texted. Owned by marketing and compliance."""

import json
from collections.abc import Mapping
from datetime import time, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.events.consent import Purpose
from schemas.messages import Category
from worker.config_files import Config, Duration, TimeOfDay, load_yaml

# af2m, Charte Business Messaging 2026: advertising between 08:00 and 21:30, and never outside. No setting goes beyond it.
EARLIEST, LATEST = time(8, 0), time(21, 30)


class Day(StrEnum):
    """A day of the week, Monday first."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


WORKING_WEEK = frozenset(Day) - {Day.SUNDAY}


class OpenHours(Config):
    """
    When marketing may be sent to a country, by the recipient's own clock.

    Attributes:
        opens: First minute, at the earliest 08:00.
        closes: From when on no more, at the latest 21:30.
        days: Days of the week.
        holidays: `closed` on public holidays, or `open`.
        region_attribute: Name of the contact attribute that holds a region with holidays of its own; `57` and `6AE`
            are Moselle and Alsace.
    """

    opens: TimeOfDay = time(8, 0)
    closes: TimeOfDay = time(20, 0)
    days: frozenset[Day] = WORKING_WEEK
    holidays: Literal["closed", "open"] = "closed"
    region_attribute: str | None = Field(default="region", pattern=r"^[a-zA-Z_]\w{0,60}$")

    @model_validator(mode="after")
    def _within_the_floor(self) -> Self:
        if self.opens.tzinfo or self.closes.tzinfo:
            raise ValueError("opens, closes: the recipient's own clock, without an offset")
        if not EARLIEST <= self.opens < self.closes <= LATEST:
            told = f"opens {self.opens:%H:%M} and closes {self.closes:%H:%M}"
            raise ValueError(f"{told}; advertising is allowed between 08:00 and 21:30, and opens before it closes")
        if not self.days:
            raise ValueError("days: name at least one")
        return self


class HoursRules(Config):
    """
    When marketing may be sent.

    Attributes:
        default: For countries that are not listed.
        countries: By ISO 3166 of the number.
        spread: Over how long after an opening those that waited for it go, so that it is no cliff.
    """

    default: OpenHours = OpenHours()
    countries: dict[Annotated[str, Field(pattern="^[A-Z]{2}$")], OpenHours] = Field(default_factory=dict)
    spread: Duration = timedelta(minutes=30)

    def of(self, country: str) -> OpenHours:
        """Return the hours of *country*."""
        return self.countries.get(country, self.default)


class CapRule(Config):
    """
    At most so many texts in any stretch of time.

    Attributes:
        most: Texts.
        per: Length of the stretch, at most 31 days: `24h`, `7d`.
    """

    most: int = Field(ge=1, le=1_000)
    per: Annotated[Duration, Field(le=timedelta(days=31))]


class CapRules(Config):
    """
    How often one number may be texted.

    Attributes:
        marketing: All marketing together.
        purposes: One purpose's, beside that.
        transactional: Texts of one transactional template: a sanity cap against an emitter gone mad.
    """

    marketing: tuple[CapRule, ...] = (CapRule(most=1, per=timedelta(hours=24)), CapRule(most=2, per=timedelta(days=7)))
    purposes: dict[Purpose, tuple[CapRule, ...]] = Field(default_factory=dict)
    transactional: tuple[CapRule, ...] = (CapRule(most=20, per=timedelta(hours=24)),)


class ConversionRule(Config):
    """
    Codes that hardly anybody types in.

    Attributes:
        least: Codes of a country below which nothing is said.
        share: Of them that must be verified; healthy are 60 to 80 % (Telnyx), under 20 % is suspicious.
    """

    least: int = Field(ge=1, le=1_000_000)
    share: float = Field(default=0.2, gt=0, lt=1)


class GuardRules(Config):
    """
    Against fraud with login codes: bots that have codes sent to numbers whose operators share the revenue.

    It watches templates that say `guard: true`.

    Attributes:
        mode: `observe` counts and logs what it would refuse, `enforce` refuses it.
        countries: Where codes go; every country that is served unless set.
        numbers: Codes for one number.
        neighbour_digits: Numbers that differ in so many last digits only are neighbours.
        neighbours: Distinct numbers among neighbours, within 24 hours.
        hour: Conversion of a country within an hour, once `otp.verified` is published at all.
        day: The same within 24 hours.
        spend_per_hour: Money for codes in any hour, in the account's currency; needs its prices.
        spend_per_day: The same for 24 hours.
        block_for: How long a block lasts before it is looked at again.
    """

    mode: Literal["off", "observe", "enforce"] = "observe"
    countries: frozenset[Annotated[str, Field(pattern="^[A-Z]{2}$")]] | None = None
    numbers: tuple[CapRule, ...] = (
        CapRule(most=1, per=timedelta(seconds=30)),
        CapRule(most=5, per=timedelta(hours=1)),
        CapRule(most=10, per=timedelta(hours=24)),
    )
    neighbour_digits: int = Field(default=3, ge=2, le=5)
    neighbours: tuple[CapRule, ...] = (
        CapRule(most=10, per=timedelta(minutes=10)),
        CapRule(most=25, per=timedelta(hours=1)),
    )
    hour: ConversionRule = ConversionRule(least=20)
    day: ConversionRule = ConversionRule(least=50)
    spend_per_hour: float | None = Field(default=None, gt=0)
    spend_per_day: float | None = Field(default=None, gt=0)
    block_for: Annotated[Duration, Field(le=timedelta(days=1))] = timedelta(minutes=30)

    @model_validator(mode="after")
    def _within_a_day(self) -> Self:
        if any(rule.per > timedelta(hours=24) for rule in self.neighbours):
            raise ValueError("neighbours: per is at most 24h; numbers are remembered for a day")
        return self


class BudgetRule(Config):
    """
    What a category may cost, in its account's currency, by days and months in UTC.

    Attributes:
        per_day: From midnight to midnight.
        per_month: From the first on.
    """

    per_day: float | None = Field(default=None, gt=0)
    per_month: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.per_day is None and self.per_month is None:
            raise ValueError("give per_day, per_month, or both")
        return self


class CustomerRule(Config):
    """
    Marketing of similar products to customers who did not object, without an opt-in. CPCE, art. L34-5, al. 4.

    Only whoever bought is a customer: an account without a purchase makes none (CNIL). They must have been told when their
    number was taken, which is yours to see to.

    Attributes:
        attribute: Of the contact, set for whoever bought: `true`, or a number above zero, as `orders_total`.
        purposes: For which it may be.
    """

    attribute: str = Field(pattern=r"^[a-zA-Z_]\w{0,60}$")
    purposes: frozenset[Purpose] = Field(min_length=1)

    def holds(self, purpose: str | None, attributes: Mapping[str, object]) -> bool:
        """Return whether somebody with *attributes* may be texted for *purpose* as a customer."""
        value = attributes.get(self.attribute)
        bought = value is True or (isinstance(value, int | float) and not isinstance(value, bool) and value > 0)
        return purpose in self.purposes and bought


class RetentionRules(Config):
    """
    How long what is known of people is kept (`sms-worker retention`).

    Attributes:
        prospect_days: After the last sign of a person, who is then forgotten.
        proof_days: After somebody was forgotten, what proves their consents, by the keyed hash of their number; and each
            marketing text after it was sent.
        ledger_days: After a message has ended, its row in the ledger (`db prune`). Lanes keep records for 67 days.
    """

    prospect_days: int = Field(default=1_095, ge=30, le=3_650)
    proof_days: int = Field(default=1_826, ge=30, le=3_650)
    ledger_days: int = Field(default=90, ge=67, le=3_650)


class Policy(Config):
    """
    `policy.yaml`; every part has a default that suits France.

    Attributes:
        brands: Who advertises: each marketing text names one.
        hours: When marketing may be sent.
        caps: How often one number may be texted.
        purposes: What people are asked to agree to: what consent events may name, and templates need.
        existing_customers: Marketing of similar products without an opt-in; nobody, unless it is set.
        guard: Against fraud with login codes.
        budgets: What each category may cost: at 80 % it warns, and marketing holds at 100 %.
        retention: How long what is known of people is kept.
    """

    brands: tuple[Annotated[str, Field(min_length=2, max_length=30)], ...] = ()
    hours: HoursRules = HoursRules()
    caps: CapRules = CapRules()
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1)] = ("offers", "invitations", "cart_reminders")
    existing_customers: CustomerRule | None = None
    guard: GuardRules = GuardRules()
    budgets: dict[Category, BudgetRule] = Field(default_factory=dict)
    retention: RetentionRules = RetentionRules()

    @model_validator(mode="after")
    def _known_purposes(self) -> Self:
        customers = self.existing_customers.purposes if self.existing_customers else frozenset[str]()
        for place, named in (("caps.purposes", self.caps.purposes), ("existing_customers.purposes", customers)):
            if unknown := sorted(set(named) - set(self.purposes)):
                raise ValueError(f"{place}: found {unknown[0]!r}; purposes are {', '.join(self.purposes)}")
        return self

    @property
    def version(self) -> str:
        """Hash of what it says, for outcomes."""
        told = self.model_dump(mode="json")
        for hours in (told["hours"]["default"], *told["hours"]["countries"].values()):
            hours["days"].sort()  # a set has another order in each process
        if told["existing_customers"] is not None:
            told["existing_customers"]["purposes"].sort()
        if told["guard"]["countries"] is not None:
            told["guard"]["countries"].sort()
        return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def load_policy(path: Path) -> Policy:
    """
    Read `policy.yaml`; where there is none, the defaults hold.

    Raises:
        ConfigurationError: With every mistake.
    """
    return load_yaml(path).parse(Policy) if path.exists() else Policy()

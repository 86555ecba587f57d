"""Accounts: credentials at a provider with their rate, and which category of message uses which."""

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from schemas.messages import Category, Lane
from worker.config_files import Config, load_yaml
from worker.content.templates import SenderName
from worker.errors import ConfigurationError, Problem


class Credentials(Config):
    """
    Where login and key are: a file or an environment variable for each.

    Attributes:
        login_file: Path of a file that holds the login.
        key_file: Path of a file that holds the key.
        login_env: Variable that holds the login.
        key_env: Variable that holds the key.
    """

    login_file: Path | None = None
    key_file: Path | None = None
    login_env: str | None = None
    key_env: str | None = None

    @model_validator(mode="after")
    def _one_place_each(self) -> Self:
        for name, file, variable in (
            ("login", self.login_file, self.login_env),
            ("key", self.key_file, self.key_env),
        ):
            if (file is None) == (variable is None):
                raise ValueError(f"give either {name}_file or {name}_env")
        return self

    def read(self, account: str) -> tuple[str, SecretStr]:
        """
        Return login and key.

        Raises:
            ConfigurationError: A file or a variable is missing.
        """
        return (
            _secret(account, "login", self.login_file, self.login_env),
            SecretStr(_secret(account, "key", self.key_file, self.key_env)),
        )


def _secret(account: str, name: str, file: Path | None, variable: str | None) -> str:
    try:
        value = (file.read_text("utf-8") if file else os.environ.get(variable or "", "")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            [Problem(str(file), None, "", f"the {name} of account {account} cannot be read")]
        ) from error
    place = str(file) if file else "environment"
    if not value.isprintable():
        message = (
            f"the {name} of account {account} has a character that no HTTP header carries, as a line's end within it"
        )
        raise ConfigurationError([Problem(place, None, variable or "", message)])
    if not value:
        raise ConfigurationError([Problem(place, None, variable or "", f"the {name} of account {account} is empty")])
    return value


class Account(Config):
    """
    Credentials at a provider, with their limits.

    Attributes:
        provider: Which module speaks to it.
        base_url: Of its API; the sandbox's to try things out.
        simulation_mode: Have the provider itself simulate.
        segments_per_second: The long-run rate that every process together keeps.
        burst: Segments that may go at once after a quiet spell; a second's worth unless set.
        max_in_flight: Requests under way at once, every process together; a tenth, at least one, is for the urgent lane.
        http_deadline_s: An answer that takes longer is no answer.
        idempotency_h: How long the provider remembers a request id; 0 if it does not. An hour of margin is ours.
        refusals_burn_request_id: A refused request is remembered too; then "already seen" proves nothing.
        price_per_segment: What a segment costs, in the account's currency; for budgets, previews, and before a replay.
        prices: The same for countries where it costs something else, by ISO 3166.
        hlr_price: What one look-up of a number costs; for `numbers clean`, which says the sum before it spends it.
        senders: By country, the sender's name there, where the template's is not registered or not allowed.
        stop_mention: What a marketing text must carry; also the template variable `stop`.
    """

    provider: Annotated[str, Field(pattern="^octopush$")]
    base_url: str = "https://api.octopush.com/v1/public"
    credentials: Credentials
    segments_per_second: float = Field(default=5, gt=0)
    burst: float | None = Field(default=None, gt=0)
    max_in_flight: int = Field(default=2, ge=1)
    http_deadline_s: float = Field(default=10, gt=0, le=60)
    idempotency_h: float = Field(default=24, ge=0)
    refusals_burn_request_id: bool = False
    simulation_mode: bool = False
    price_per_segment: float | None = Field(default=None, ge=0)
    prices: dict[Annotated[str, Field(pattern="^[A-Z]{2}$")], Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict
    )
    hlr_price: float | None = Field(default=None, ge=0)
    senders: dict[Annotated[str, Field(pattern="^[A-Z]{2}$")], SenderName] = Field(default_factory=dict)
    stop_mention: str = "STOP au 30101"

    @property
    def bucket(self) -> float:
        """Segments that the token bucket holds."""
        return self.burst or max(self.segments_per_second, 1.0)

    @property
    def reserved_in_flight(self) -> int:
        """Requests of an account with an urgent lane that only that lane may use: a tenth, at least one of two."""
        return max(1, self.max_in_flight // 10) if self.max_in_flight > 1 else 0

    @property
    def lease_s(self) -> float:
        """How long a claim lasts: two attempts and 10 seconds."""
        return 2 * self.http_deadline_s + 10

    @property
    def start_window_s(self) -> float:
        """The time since *before* the fence was asked within which the HTTP call may start."""
        return self.lease_s - self.http_deadline_s - 5

    def price(self, country: str | None) -> float | None:
        """Return what a segment to *country* costs; None where nobody has said."""
        return self.prices.get(country or "", self.price_per_segment)

    @property
    def ref_life_s(self) -> float:
        """How long a request id is surely remembered, in seconds."""
        return max(0.0, (self.idempotency_h - 1) * 3600)


class Accounts(Config):
    """`providers.yaml`: the accounts, and which category uses which."""

    accounts: dict[str, Account] = Field(min_length=1)
    categories: dict[Category, str]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for category in Category:
            name = self.categories.get(category)
            if name is None:
                raise ValueError(f"categories: {category} has no account")
            if name not in self.accounts:
                raise ValueError(f"categories: {category} names {name!r}; accounts are {', '.join(self.accounts)}")
        return self

    def of(self, category: Category) -> tuple[str, Account]:
        """Return the account's name and the account of a *category*."""
        name = self.categories[category]
        return name, self.accounts[name]

    def of_lane(self, lane: Lane) -> tuple[str, Account]:
        """Return the account's name and the account that messages of *lane* are sent by; urgent ones are transactional."""
        return self.of(Category.MARKETING if lane is Lane.MARKETING else Category.TRANSACTIONAL)

    def missing_credentials(self) -> list[Problem]:
        """Return what a worker that really sends would lack."""
        problems: list[Problem] = []
        for name in dict.fromkeys(self.categories.values()):
            try:
                self.accounts[name].credentials.read(name)
            except ConfigurationError as error:
                problems += error.problems
        return problems

    def stop_mentions(self) -> dict[Category, str]:
        """Return the STOP mention of each category's account."""
        return {category: self.of(category)[1].stop_mention for category in Category}


def load_accounts(path: Path) -> Accounts:
    """
    Read `providers.yaml`.

    Raises:
        ConfigurationError: It does not read, or both categories share an account.
    """
    file = load_yaml(path)
    accounts = file.parse(Accounts)
    if accounts.categories[Category.TRANSACTIONAL] == accounts.categories[Category.MARKETING]:
        shared = "shares its account with transactional: one STOP there would silence login codes too; give it its own"
        raise ConfigurationError([file.problem(("categories", "marketing"), shared)])
    (codes, its), (offers, theirs) = (
        accounts.of(category) for category in (Category.TRANSACTIONAL, Category.MARKETING)
    )
    both = {name.upper() for name in its.senders.values()} & {name.upper() for name in theirs.senders.values()}
    if both:
        told = f"{min(both)} also sends for {codes}; give marketing its own sender"
        raise ConfigurationError([file.problem(("accounts", offers, "senders"), told)])
    return accounts

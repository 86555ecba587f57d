"""
Marketing keeps to the hours of the recipient's own clock and calendar; with several possible zones, to those of all.

Source: af2m, Charte Business Messaging 2026; vendors' advice of Monday to Saturday, 08:00 to 20:00, no public holidays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import holidays
import phonenumbers
from phonenumbers import timezone as number_zones

from schemas.outcomes import OutcomeKind
from worker.policy.number import Number, parse_number
from worker.policy.rules import Day, HoursRules, OpenHours
from worker.policy.verdicts import Defer, Reason, Refuse, Send, Verdict, suppress

DAYS = tuple(Day)
# Where most people of a country of several zones live. Source: CLDR's primary zones; else the largest city's zone in tzdata.
MAINLAND = {
    "AR": "America/Argentina/Buenos_Aires", "AU": "Australia/Sydney", "BR": "America/Sao_Paulo", "CA": "America/Toronto",
    "CD": "Africa/Kinshasa", "CL": "America/Santiago", "CN": "Asia/Shanghai", "CY": "Asia/Nicosia", "DE": "Europe/Berlin",
    "EC": "America/Guayaquil", "ES": "Europe/Madrid", "FM": "Pacific/Pohnpei", "GL": "America/Nuuk", "ID": "Asia/Jakarta",
    "KI": "Pacific/Tarawa", "KZ": "Asia/Almaty", "MH": "Pacific/Majuro", "MN": "Asia/Ulaanbaatar",
    "MX": "America/Mexico_City",
    "MY": "Asia/Kuala_Lumpur", "NZ": "Pacific/Auckland", "PF": "Pacific/Tahiti", "PG": "Pacific/Port_Moresby",
    "PS": "Asia/Gaza", "PT": "Europe/Lisbon", "RU": "Europe/Moscow", "UA": "Europe/Kyiv", "US": "America/New_York",
    "UZ": "Asia/Tashkent",
}  # fmt: skip
LONGEST_SEARCH = 40  # days and zones: no calendar is closed for so long, but a country of zones far apart never opens


@dataclass(frozen=True, slots=True)
class Hours:
    """
    What the clock says.

    Attributes:
        verdict: Now.
        closes_at: Until when a `Send` holds; None for ever.
        afterwards: From then on.
    """

    verdict: Verdict
    closes_at: datetime | None = None
    afterwards: Verdict | None = None


def check_hours(
    rules: HoursRules,
    number: Number,
    zone: str | None,
    attributes: Mapping[str, Any],
    now: datetime,
    expires_at: datetime,
    message_id: str,
    *,
    drop: bool = False,
) -> Hours:
    """
    Return whether a marketing text may be sent at *now*, until when, and what holds afterwards.

    Args:
        rules: When marketing may be sent.
        number: Whom it is for; its country and prefix say which zones are possible.
        zone: The recipient's IANA zone, if it is known.
        attributes: Of the contact, for a region with holidays of its own.
        now: Aware.
        expires_at: What opens no sooner is not waited for.
        message_id: Decides its place in the spread after an opening.
        drop: What comes outside the hours is not sent at all.
    """
    hours = rules.of(number.country)
    region = str(attributes.get(hours.region_attribute or "", "")) if hours.region_attribute else ""
    calendar = _Calendar(hours, number.country, region, zones_of(number, zone))
    opening = calendar.opens(now)
    if opening is None:
        return Hours(suppress(Reason.OUTSIDE_HOURS))
    if opening > now:
        return Hours(_later(calendar, opening, expires_at, rules, message_id, drop=drop))
    closing = calendar.closes(now)
    again = calendar.opens(closing)
    afterwards = (
        suppress(Reason.OUTSIDE_HOURS)
        if again is None
        else _later(calendar, again, expires_at, rules, message_id, drop=drop)
    )
    return Hours(Send(), closing, afterwards)


def _later(
    calendar: "_Calendar", opening: datetime, expires_at: datetime, rules: HoursRules, message_id: str, *, drop: bool
) -> Verdict:
    if drop:
        return suppress(Reason.OUTSIDE_HOURS)
    room = min(rules.spread, calendar.closes(opening) - opening, expires_at - opening)
    if room <= timedelta(0):
        return Refuse(OutcomeKind.EXPIRED, Reason.OUTSIDE_HOURS)
    share = int(message_id[:8], 16) / 2**32  # the same at each look: nobody's turn moves on
    return Defer(opening + room * share * 0.98, Reason.OUTSIDE_HOURS)


class _Calendar:
    """When it is open in every one of some zones."""

    def __init__(self, hours: OpenHours, country: str, region: str, zones: Sequence[ZoneInfo]) -> None:
        self._hours = hours
        self._country = country
        self._region = region
        self._zones = zones

    def opens(self, moment: datetime) -> datetime | None:
        """Return *moment* if it is open then, else when it opens next; None if that never comes."""
        for _ in range(LONGEST_SEARCH):
            nexts = [self._opens_in(zone, moment) for zone in self._zones]
            latest = max((one for one in nexts if one is not None), default=None)
            if latest is None or None in nexts or latest == moment:
                return None if None in nexts else latest
            moment = latest
        return None

    def closes(self, moment: datetime) -> datetime:
        """Return when it closes first in some zone; *moment* is open in all."""
        return min(self._at(moment.astimezone(zone).date(), zone, opens=False) for zone in self._zones)

    def _opens_in(self, zone: ZoneInfo, moment: datetime) -> datetime | None:
        today = moment.astimezone(zone).date()
        for day in (today + timedelta(days=n) for n in range(LONGEST_SEARCH)):
            if self._is_open_day(day) and moment < self._at(day, zone, opens=False):
                return max(moment, self._at(day, zone, opens=True))
        return None

    def _at(self, day: date, zone: ZoneInfo, *, opens: bool) -> datetime:
        """Return opening or closing time of a day, in UTC: two moments in one zone are compared by their wall clocks."""
        wall = datetime.combine(day, self._hours.opens if opens else self._hours.closes, tzinfo=zone)
        return wall.astimezone(ZoneInfo("UTC"))

    def _is_open_day(self, day: date) -> bool:
        if DAYS[day.weekday()] not in self._hours.days:
            return False
        return self._hours.holidays == "open" or day not in _holidays(self._country, self._region, day.year)


@lru_cache(maxsize=50_000)
def zones_of(number: Number, explicit: str | None) -> tuple[ZoneInfo, ...]:
    """Return the zones that a number's owner may live in: the explicit one, else its prefix's, else its country's."""
    if explicit and (known := _zone(explicit)) is not None:
        return (known,)
    names = number_zones.time_zones_for_number(phonenumbers.parse(number.e164))
    zones = tuple(zone for name in names if (zone := _zone(name)) is not None)
    return zones or _country_zones(number.country)


def zone_for(phone: str | None, *told: str | None) -> ZoneInfo:
    """
    Return the one zone that a person's texts are timed and written in.

    That is the first of those *told* that there is, else their number's country's (its mainland's), else Paris.
    """
    if (known := zone_told(*told)) is not None:
        return ZoneInfo(known)
    number = parse_number(phone) if phone else None
    return _home_zone(number) if isinstance(number, Number) else ZoneInfo("Europe/Paris")


def zone_told(*told: str | None) -> str | None:
    """Return the first of *told* that is a zone: what is none hides nothing that was said elsewhere."""
    return next((name for name in told if name and _zone(name) is not None), None)


@lru_cache(maxsize=50_000)
def _home_zone(number: Number) -> ZoneInfo:
    """Return the zone of a number's country: what its prefix leaves of it, else its mainland's."""
    its = tuple(zone for zone in zones_of(number, None) if _country_of(zone.key) == number.country)
    if len(its) == 1:
        return its[0]
    if (mainland := MAINLAND.get(number.country)) is not None:
        return ZoneInfo(mainland)
    return (its or _country_zones(number.country))[0]


def _country_of(zone: str) -> str | None:
    from babel.core import get_global  # noqa: PLC0415  as below

    country: str | None = get_global("zone_territories").get(zone)
    return country


@cache
def _country_zones(country: str) -> tuple[ZoneInfo, ...]:
    from babel.core import get_global  # noqa: PLC0415  a table that hardly anybody needs

    names = [name for name, territory in get_global("zone_territories").items() if territory == country]
    zones = tuple(zone for name in sorted(names) if (zone := _zone(name)) is not None)
    return zones or tuple(ZoneInfo(name) for name in ("Pacific/Kiritimati", "Etc/GMT+12"))  # anywhere: hardly ever open


@lru_cache(maxsize=1_000)  # events name zones
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if not name.startswith("Etc/Unknown") else None
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones, as Europe
        return None


@lru_cache(maxsize=2_000)
def _holidays(country: str, region: str, year: int) -> frozenset[date]:
    """Return the public holidays of a country, and of one of its regions; a country without a calendar has none."""
    try:
        return frozenset(holidays.country_holidays(country, subdiv=region or None, years=year))
    except NotImplementedError:
        return _holidays(country, "", year) if region else frozenset()

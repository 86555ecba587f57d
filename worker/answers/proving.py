"""The proof of consent as a page: acts, wordings, withdrawals, and every marketing text, for an authority or the person."""

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from worker.pages import page as whole
from worker.policy.consent import Act, DatedAct, Suppression, check_consent
from worker.policy.rules import CustomerRule
from worker.policy.verdicts import Refuse
from worker.state.persons import ConsentAct, Person

_STYLE = (
    "body{max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}th,td{border:1px solid #bbb;padding:.35rem .6rem;"
    "text-align:left;vertical-align:top}th{background:#f0f0f0}q{font-style:italic}.no{color:#a00}.yes{color:#060}"
    "div{overflow-x:auto}p{overflow-wrap:anywhere}@media print{body{margin:0}td{overflow-wrap:anywhere}}"
)


def acts_until(person: Person, at: datetime) -> list[ConsentAct]:
    """Return what the person had done by *at*, by the acts' own times."""
    return [act for act in person.acts if act.at <= at.timestamp()]


def suppressions_at(person: Person, at: datetime) -> list[Suppression]:
    """Return what silenced the number at *at*, lifted since or not."""
    held = [its for its in person.suppressions if its["at"] <= at.timestamp()]
    held += [its for its in person.past_suppressions if its["at"] <= at.timestamp() < its["until"]]
    return [Suppression(its["scope"], its["reason"], its["at"]) for its in held]


def customer_of(person: Person, rule: CustomerRule | None, purpose: str) -> bool:
    """Return whether a person may be texted for *purpose* as a customer, by who their contacts are today."""
    return rule is not None and any(rule.holds(purpose, contact.attributes) for contact in person.contacts)


def verdicts_at(
    person: Person, at: datetime, purposes: Iterable[str], rule: CustomerRule | None = None
) -> dict[str, str | None]:
    """Return for each purpose why a text was not allowed at *at*; None where it was, by consent or as a customer."""
    acts = [DatedAct(Act(act.act), act.purpose, act.at) for act in acts_until(person, at)]
    suppressions = suppressions_at(person, at)
    answers = {
        purpose: check_consent(acts, suppressions, purpose, is_customer=customer_of(person, rule, purpose))
        for purpose in purposes
    }
    return {name: answer.reason if isinstance(answer, Refuse) else None for name, answer in answers.items()}


def page(person: Person, who: str, at: datetime, purposes: Iterable[str], rule: CustomerRule | None = None) -> str:
    """
    Return the proof as HTML that stands by itself.

    Args:
        person: All that is kept.
        who: How to call the number: masked.
        at: The day that is asked about.
        purposes: Of consent.
        rule: Of existing customers, if there is one.
    """
    consented = verdicts_at(person, at, purposes)
    rows = [
        _verdict(purpose, reason, by_consent=consented[purpose] is None)
        for purpose, reason in verdicts_at(person, at, consented, rule).items()
    ]
    acts = [_act(act) for act in acts_until(person, at)]
    sent = [_sent(told) for told in person.messages if str(told.get("counts_as", "")).startswith("marketing:")]
    stops = [
        f"<tr><td>{_time(s['at'])}</td><td>{escape(s['scope'])}</td><td>{escape(s['reason'])}</td>"
        f"<td>{_time(s['until']) if 'until' in s else ''}</td></tr>"
        for s in (*person.suppressions, *person.past_suppressions)
    ]
    body = (
        f"<h1>Proof of consent</h1><p>Number {escape(who)}, person {escape(person.person)}.<br>"
        f"As of {escape(at.isoformat(timespec='minutes'))}; printed {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.</p>"
        + _table("Allowed on that day", ("purpose", "answer"), rows)
        + _table("What the person did", ("when", "act", "purpose", "how", "wording", "source", "record"), acts)
        + _table("Suppressions", ("when", "scope", "reason", "lifted"), stops)
        + _table(
            "Marketing texts sent, or that may have been",
            ("when", "purpose", "basis", "template, version", "outcome"),
            sent,
        )
        + "<p>A consent counts only if it is later than every withdrawal (GDPR, art. 7). Each act stands at a place "
        "of a Kafka topic; the record itself is kept, encrypted, beside it.</p>"
    )
    return whole("Proof of consent", _STYLE, body)


def _table(title: str, headings: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(rows) or "<tr><td>nothing</td></tr>"
    return f"<h2>{escape(title)}</h2><div><table><tr>{head}</tr>{body}</table></div>"


def _verdict(purpose: str, reason: str | None, *, by_consent: bool) -> str:
    yes = "yes" if by_consent else "similar products only, as a customer who did not object"
    answer = f'<td class="yes">{yes}</td>' if reason is None else f'<td class="no">no: {escape(reason)}</td>'
    return f"<tr><td>{escape(purpose)}</td>{answer}</tr>"


def _act(act: ConsentAct) -> str:
    record = act.record or {}
    wording = record.get("wording")
    told = [
        _time(act.at),
        escape(act.act),
        escape("all" if act.purpose == "*" else act.purpose),
        escape(", ".join(str(one) for one in (act.channel, record.get("brand"), record.get("ip")) if one)),
        (f"<q>{escape(str(wording))}</q><br>" if wording else "")
        + escape(f"version {act.wording_version}" if act.wording_version else ""),
        escape(f"{act.topic} / {act.partition} / {act.offset}"),
        "kept" if act.record is not None else "erased with the person's key",
    ]
    return "<tr>" + "".join(f"<td>{one}</td>" for one in told) + "</tr>"


def _sent(told: dict[str, object]) -> str:
    purpose = str(told["counts_as"]).split(":")[1]
    template = f"{told.get('template', '?')}, {told.get('template_version', '?')}"
    outcome = str(told.get("outcome") or told["state"])
    when = _time(float(str(told["claimed_at"])))
    basis = "an existing customer who had not objected" if told.get("basis") == "existing_customer" else "consent"
    cells = (when, escape(purpose), basis, escape(template), escape(outcome))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"

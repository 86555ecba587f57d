"""The pages, as HTML; everything that comes from elsewhere is escaped here, and nothing of it is ever a script."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from urllib.parse import urlencode

from worker.answers.finding import FoundMessage
from worker.errors import DeadLetterReason
from worker.explanations import ADVICE
from worker.pages import page as whole
from worker.replaying.judging import Judgement
from worker.replaying.letters import Letter
from worker.replaying.looking import COUNTED_BY
from worker.replaying.putting_back import Figures

FILTERS = ("stage", "reason", "type", "route", "template", "campaign", "since")
HEADERS_OF = {"type": "event-type"}
_STYLE = """
body{margin:0 auto;max-width:1200px;padding:1rem}
nav{display:flex;gap:1.2rem;border-bottom:1px solid #ddd;padding-bottom:.6rem;margin-bottom:1rem;flex-wrap:wrap}
h1{font-size:1.35rem;margin:.5rem 0}
h2{font-size:1.05rem;margin:1.5rem 0 .4rem}
form{display:flex;flex-wrap:wrap;gap:.5rem;align-items:end;margin:.8rem 0}
label{display:flex;flex-direction:column;font-size:.8rem;color:#555}
input,button{font:inherit;padding:.3rem .5rem;border:1px solid #bbb;border-radius:.3rem;max-width:12rem}
button{background:#2f6f4f;color:#fff;border-color:#2f6f4f;cursor:pointer}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #eee;vertical-align:top;overflow-wrap:break-word}
td.number{text-align:right}
.note{color:#555;max-width:48rem}
.said{background:#f4f6f4;border-left:4px solid #2f6f4f;padding:.6rem .9rem;max-width:48rem}
.bad{border-color:#b4552d;background:#fbf4f1}
code{background:#f2f2f2;padding:.1rem .3rem;border-radius:.2rem;overflow-wrap:anywhere}
"""


def page(title: str, body: str) -> str:
    """Return a page with the way to the others."""
    ways = (("/", "Dead letters"), ("/replay", "What a replay would do"), ("/find", "Find a message"))
    way = f"<nav>{''.join(_link(target, name) for target, name in ways)}</nav>"
    return whole(title, _STYLE, f"{way}<h1>{escape(title)}</h1>{body}")


def login(wrong: bool) -> str:
    """Ask for the token."""
    told = '<p class="said bad">That is not the token.</p>' if wrong else ""
    form = (
        '<form method="post" action="/login"><label>Token<input type="password" name="token" autofocus '
        'autocomplete="current-password"></label><button>Enter</button></form>'
    )
    return whole("Token", _STYLE, f"<h1>SMS worker</h1>{told}{form}")


def letters(counts: Counter[tuple[str, ...]], newest: Sequence[Letter], given: Mapping[str, str]) -> str:
    """Show how many letters there are of what, and the newest."""
    rows = [(*key, f"{count:,}") for key, count in counts.most_common(50)]
    found = [
        (
            f"{letter.record.time:%m-%d %H:%M:%S}",
            _link(f"/letters/{'/'.join(map(str, letter.place))}", letter.reason),
            letter.stage,
            letter.headers.get("event-type", ""),
            letter.headers.get("template", ""),
            letter.headers.get("attempts", ""),
            letter.headers.get("field", ""),
            letter.headers.get("error", ""),
        )
        for letter in reversed(newest)
    ]
    heads = ("when", "reason", "stage", "type", "template", "tries", "field", "error")
    none = '<p class="said">None: everything could be handled.</p>'
    replay = f"<p>{_link(f'/replay?{urlencode(given)}', 'What would a replay of these do?')}</p>" if newest else ""
    return page(
        "Dead letters",
        _filters("/", given)
        + (
            f"<h2>{counts.total():,} by what they are</h2>{_table((*COUNTED_BY, 'letters'), rows)}{replay}"
            if counts
            else none
        )
        + (f"<h2>The newest</h2>{_table(heads, found)}" if newest else ""),
    )


def letter(judged: Judgement) -> str:
    """Tell everything of one letter but what is sealed in it."""
    its = judged.letter
    reason = DeadLetterReason(its.reason) if its.reason in set(DeadLetterReason) else None
    advice = f"<p class=said>{escape(ADVICE[reason].meaning)}<br>{escape(ADVICE[reason].remedy)}</p>" if reason else ""
    decision = judged.decision + (f": {judged.detail}" if judged.detail else "")
    cost = f", {judged.segments} segments" if judged.segments else ""
    place = "/".join(map(str, its.place))
    rows = [(name, value) for name, value in its.headers.items() if name not in ("reason", "stage")]
    return page(
        f"{its.reason} in {its.stage}",
        f"{advice}<p>Put back today, it <b>{escape(decision)}</b>{cost}.</p>{_table(('', ''), rows)}"
        f"<p class=note>Its content is sealed; <code>sms-worker dead-letters show {escape(place)} --reveal</code> opens it, "
        "and is audited. A replay is a command, too: <code>sms-worker dead-letters replay --help</code>.</p>",
    )


def replay(figures: Figures | None, given: Mapping[str, str], most: int) -> str:
    """Show what a replay would do; nothing is done."""
    if figures is None:
        told = '<p class="note">Choose letters; every check is asked what it would say today. Nothing is put back here.</p>'
    else:
        became = " + ".join(f"{count:,} {what}" for what, count in figures.became.most_common()) or "0"
        cost = f", {figures.cost:.2f} in the accounts' currency" if figures.cost else ""
        rows = [(reason, decision, f"{count:,}") for (reason, decision), count in figures.reasons.most_common()]
        options = " ".join(f"--{name} {value}" for name, value in given.items())
        told = (
            f'<p class="said">{figures.chosen:,} letters = {escape(became)}; {figures.segments:,} segments{cost}.</p>'
            f"{_table(('reason', 'today it', 'letters'), rows)}"
            f"<p class=note>At most {most:,} were looked at. To do it: "
            f"<code>sms-worker dead-letters replay {escape(options)} --yes</code></p>"
        )
    return page("What a replay would do", _filters("/replay", given) + told)


def find(found: Sequence[FoundMessage] | None, told: str) -> str:
    """Ask whose messages, and show what came of them."""
    fields = (
        ("phone", "Number"),
        ("contact", "Contact id"),
        ("order", "Order, appointment, cart"),
        ("event", "Event id"),
    )
    inputs = "".join(f'<label>{label}<input name="{name}" autocomplete="off"></label>' for name, label in fields)
    form = f'<form method="post" action="/find">{inputs}<button>Find</button></form>'
    note = "<p class=note>Fill in one. Each look is written to sms.audit, without the number.</p>"
    if found is None:
        return page("Find a message", form + note)
    none = "<p class=said>Nothing: no outcome of that person or event in 30 days. It may still be under way.</p>"
    return page("Find a message", f"{form}{note}<h2>{escape(told)}</h2>{''.join(map(_found, found)) or none}")


def _found(one: FoundMessage) -> str:
    about = f"{one.event['type']}, event {one.event['id']}" + (f", template {one.template}" if one.template else "")
    rows = [(time[:19].replace("T", " "), english, french) for time, french, english in one.steps]
    ref = (
        f"<p class=note>The operator's reference is <code>{escape(one.provider_ref)}</code>.</p>"
        if one.provider_ref
        else ""
    )
    return f"<h2>{escape(about)}</h2>{_table(('UTC', 'what came of it', 'en français'), rows)}{ref}"


def failed(what: str) -> str:
    """Say that something cannot be shown now."""
    return page("Not now", f'<p class="said bad">{escape(what)}</p>')


class _Link(str):
    """HTML that is right as it is."""

    __slots__ = ()


def _link(target: str, text: str) -> _Link:
    return _Link(f'<a href="{escape(target)}">{escape(text)}</a>')


def _filters(action: str, given: Mapping[str, str]) -> str:
    inputs = "".join(
        f'<label>{name}<input name="{name}" value="{escape(given.get(name, ""))}"></label>' for name in FILTERS
    )
    return f'<form action="{action}">{inputs}<button>Show</button></form>'


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cell(cell: str) -> str:
    return f"<td>{cell if isinstance(cell, _Link) else escape(cell)}</td>"

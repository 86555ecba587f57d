"""A report as a page: figures, three charts of plain HTML, and the table. No script; it prints."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from html import escape

from worker.answers.reporting import Line, Report
from worker.pages import page as whole

NO_OPENS = (
    "Whether an SMS was opened cannot be measured: nothing in it could tell. Delivered and clicked are what can be known, "
    "where the provider reports it and links are counted."
)
MOST_BARS = 12
_STYLE = """
body{margin:0 auto;max-width:1100px;padding:1.5rem}
h1{font-size:1.5rem;margin:0}
h2{font-size:1.05rem;margin:2rem 0 .5rem}
.period,.note{color:#555}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.75rem;margin:1.25rem 0}
.figures div{border:1px solid #ddd;border-radius:.5rem;padding:.6rem .8rem}
.figures b{display:block;font-size:1.4rem}
.bars{display:grid;grid-template-columns:minmax(6rem,14rem) 1fr auto;gap:.3rem .6rem;align-items:center}
.bars span{overflow-wrap:anywhere}
.bar{height:1.1rem;border-radius:.2rem;background:#2f6f4f;min-width:2px}
.why .bar{background:#b4552d}
.cost .bar{background:#3b5b92}
.days{display:flex;align-items:flex-end;gap:2px;height:9rem;border-bottom:1px solid #999}
.days div{flex:1;display:flex;flex-direction:column;justify-content:flex-end;height:100%;min-width:2px}
.days i{background:#2f6f4f;display:block}
.days u{background:#b4552d;display:block}
.axis{display:flex;justify-content:space-between;color:#555}
.key i{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em;background:#2f6f4f}
.key i.not{background:#b4552d}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #eee;white-space:nowrap}
th:first-child,td.name,th.name{text-align:left;white-space:normal}
@media print{.days i,.days u,.bar{print-color-adjust:exact}}
"""


def page(report: Report) -> str:
    """Return *report* as an HTML page that stands by itself."""
    period = f"{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    body = (
        f"<h1>What was sent</h1><p class=period>{period}</p>{_figures(report.total)}"
        f"<h2>By day</h2>{_days(report)}"
        f"<h2>Why messages were not sent</h2>{_bars('why', report.total.why, lambda count: f'{count:,.0f}')}"
        f"<h2>What it cost</h2>{_costs(report)}"
        f"<h2>By {escape(', '.join(report.by))}</h2><div class=wide>{_table(report)}</div><p class=note>{NO_OPENS}</p>"
    )
    return whole("What was sent", _STYLE, body)


def percent(share: float | None) -> str:
    """Return a share for people; nothing where there is none."""
    return "" if share is None else f"{share:.1%}"


def costs(line: Line) -> str:
    """Return what a line cost, by currency."""
    return ", ".join(f"{amount:,.2f} {currency}".strip() for currency, amount in sorted(line.cost.items()))


def why(line: Line) -> str:
    """Return why messages of a line were not sent, the most frequent reason first."""
    return ", ".join(f"{reason} {count:,}" for reason, count in line.why.most_common() if count)


def _figures(total: Line) -> str:
    delivered = total.ended["delivered"]
    told = [
        ("sent", f"{total.sent:,}"),
        (
            "not sent",
            f"{total.not_sent:,}" + (f" ({percent(1 - total.sent_share)})" if total.sent_share is not None else ""),
        ),
        ("delivered", f"{delivered:,} ({percent(total.share(delivered))})" if delivered else "not reported"),
        ("clicked", f"{total.ended['clicked']:,}" if total.ended["clicked"] else "not counted"),
        ("segments", f"{total.segments:,}"),
        ("cost", costs(total) or "not told"),
    ]
    return f'<div class="figures">{"".join(f"<div>{name}<b>{escape(value)}</b></div>" for name, value in told)}</div>'


def _days(report: Report) -> str:
    if not report.days:
        return "<p>Nothing.</p>"
    most = max(line.sent + line.not_sent for line in report.days.values()) or 1
    columns = "".join(
        f'<div title="{day}: {line.sent:,} sent, {line.not_sent:,} not">'
        f'<u style="height:{100 * line.not_sent / most:.2f}%"></u><i style="height:{100 * line.sent / most:.2f}%"></i></div>'
        for day, line in sorted(report.days.items())
    )
    first, last = min(report.days), max(report.days)
    key = f'<p class="key">{most:,} at the most<i></i>sent<i class="not"></i>not sent</p>'
    return f'{key}<div class="days">{columns}</div><div class="axis"><span>{first}</span><span>{last}</span></div>'


def _costs(report: Report) -> str:
    currencies = sorted({currency for line in report.lines.values() for currency in line.cost})
    return "".join(_cost(report, currency) for currency in currencies) or "<p>Nothing that a provider told.</p>"


def _cost(report: Report, currency: str) -> str:
    values = Counter({_name(group): its for group, line in report.lines.items() if (its := line.cost[currency])})
    return _bars("cost", values, lambda amount: f"{amount:,.2f} {currency}")


def _bars(kind: str, values: Mapping[str, float], told: Callable[[float], str]) -> str:
    if not values:
        return "<p>Nothing.</p>"
    most = max(values.values())
    ordered = sorted(values.items(), key=lambda one: (-one[1], one[0]))
    return f'<div class="bars {kind}">{"".join(_bar(name, value, most, told) for name, value in ordered[:MOST_BARS])}</div>'


def _bar(name: str, value: float, most: float, told: Callable[[float], str]) -> str:
    width = 100 * value / most if most else 0
    return f'<span>{escape(name)}</span><div class="bar" style="width:{width:.1f}%"></div><span>{escape(told(value))}</span>'


def _name(group: Iterable[str]) -> str:
    return " / ".join(part or "none" for part in group)


def _table(report: Report) -> str:
    names = "".join(f"<th class=name>{escape(name)}</th>" for name in report.by)
    heads = (
        "sent",
        "of all",
        "delivered",
        "clicked",
        "suppressed",
        "expired",
        "refused",
        "unknown",
        "dead letters",
        "segments",
        "cost",
        "why not",
    )
    rows = "".join(_row(group, line) for group, line in report.ordered())
    return f"<table><tr>{names}{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table>"


def _row(group: Iterable[str], line: Line) -> str:
    cells = [
        f"{line.sent:,}",
        *map(percent, (line.sent_share, line.rate("delivered"), line.rate("clicked"))),
        *(f"{line.ended[kind]:,}" for kind in ("suppressed", "expired", "rejected", "unknown", "dead_lettered")),
        f"{line.segments:,}",
        costs(line),
    ]
    names = "".join(f"<td class=name>{escape(part)}</td>" for part in group)
    figures = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr>{names}{figures}<td class=name>{escape(why(line))}</td></tr>"

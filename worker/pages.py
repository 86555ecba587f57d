"""A page that stands by itself: no script, nothing loaded from anywhere, readable on a phone and on paper."""

from html import escape

_FONT = "body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a}"


def page(title: str, style: str, body: str) -> str:
    """
    Return a whole HTML page.

    Args:
        title: Plain text.
        style: CSS.
        body: HTML, with everything that comes from elsewhere escaped.
    """
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{_FONT}{style}</style>{body}</html>'
    )

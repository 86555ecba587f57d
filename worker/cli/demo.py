"""`demo`."""


def demo() -> None:
    """Play a shop's day on an embedded broker, a sandbox provider and SQLite, and show what becomes of each event."""

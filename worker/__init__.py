"""The event-driven SMS worker. Start with `router.py`, then `sender.py`."""

__version__ = "0.1.0"

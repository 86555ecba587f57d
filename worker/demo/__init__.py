"""A shop's day, played on an embedded broker, the sandbox and SQLite."""

"""The routing table: rows, conditions, loading, and reading events off records."""

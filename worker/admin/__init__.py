"""Pages for operators and support: dead letters, what a replay would do, and what was sent to somebody."""

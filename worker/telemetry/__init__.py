"""What the worker shows of itself: logs, metrics."""

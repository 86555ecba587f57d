"""Edge: health and metrics."""

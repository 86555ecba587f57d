"""Edge: one module per provider; the only folder with an HTTP client."""

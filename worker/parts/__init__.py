"""The parts of a worker, opened from its configuration; `app.py` puts them together and runs them."""

"""`sms-worker`: parses, calls, prints, exits. Data goes to stdout, talk to stderr."""

from worker.cli.main import app, main

__all__ = ["app", "main"]

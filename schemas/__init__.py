"""Contracts with other teams: the events we read, the messages and outcomes we write. Needs pydantic and nothing else."""

"""A provider to develop and test against: Octopush's HTTP API, with its leniency, and faults on demand."""

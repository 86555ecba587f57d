"""Edge: reading, committing and writing records; the only folder that imports aiokafka."""

"""Edge: contacts, consents, ledger, keys; the only folder that imports SQLAlchemy."""

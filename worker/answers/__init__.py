"""What people ask, answered: how it stands, what was sent, why this message, what another table would do."""

"""The platform's own backup: database and configuration, sealed to the operator's key, put to its targets."""

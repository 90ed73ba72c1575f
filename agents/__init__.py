"""The agent: what runs on a machine that is backed up. Never imports Django."""

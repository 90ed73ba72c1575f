"""The agent: what runs on a machine that is backed up. Never imports Django."""

__version__ = "0.1.0"

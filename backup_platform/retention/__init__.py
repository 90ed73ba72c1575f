"""Retention: how long snapshots stay, what holds them, what would go and why, and how they are brought back."""

"""Targets: the places that hold packs, how they are opened, and what is known of them."""

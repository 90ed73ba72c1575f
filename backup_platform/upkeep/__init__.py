"""Upkeep: what nothing needs is reclaimed, sparse packs are compacted, every copy is re-read, and damage is healed."""

"""Tiering: which packs are copied to which targets, when local copies leave, and the moves themselves."""

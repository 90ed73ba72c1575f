"""Coming back from nothing: the catalogue made again from a store alone, and the platform's own backup."""

"""`make demo`: a newcomer's first ten minutes, done before their eyes with the same commands that they would type."""

"""`python -m agents` is `strongroom`."""

from agents.cli import main

main()

"""`python -m flows.cli` is the command `gradus`."""

from flows.cli import main

main()

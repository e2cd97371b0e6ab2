"""`python -m simulators` is `campus-sim`."""

from simulators.cli import main

main()

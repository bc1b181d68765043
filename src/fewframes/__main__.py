"""`python -m fewframes` is the command line."""

from fewframes.cli import main

main()

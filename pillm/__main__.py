"""Run the command line: python -m pillm."""

from pillm.cli import main

main()

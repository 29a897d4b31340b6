"""`python -m octjob`."""

from octjob.cli import main

main()

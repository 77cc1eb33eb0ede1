"""`python -m loggos`: the command line."""

from loggos.cli.main import main

main()

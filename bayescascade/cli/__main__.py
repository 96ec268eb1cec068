"""`python -m bayescascade.cli`."""

from bayescascade.cli.app import main

main()

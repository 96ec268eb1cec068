"""`python -m bayescascade`, as the ``bayescascade`` script."""

from bayescascade.cli.__main__ import main

if __name__ == "__main__":
    main()

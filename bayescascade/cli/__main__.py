"""`python -m bayescascade.cli`, and the ``bayescascade`` script."""

import sys

from bayescascade._common.extras import not_installed


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        from bayescascade.cli.app import main as run
    except ModuleNotFoundError as missing:
        error = not_installed(missing, "the command line")
        if error is missing:
            raise
        sys.exit(f"Error: {error}")
    run()


if __name__ == "__main__":
    main()

"""``python -m controller`` is the ``penstock`` command."""

from controller.cli import main

if __name__ == "__main__":
    main()

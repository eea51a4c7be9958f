"""``python -m proxy``: one proxy process, set by the environment alone."""

import sys
from typing import NoReturn

import setproctitle

from proxy import app, settings


def main() -> NoReturn:
    """Run a proxy until SIGTERM or SIGINT. Exit code 2: the settings or the address do not allow it."""
    setproctitle.setproctitle("penstock proxy")
    try:
        chosen = settings.load()
    except settings.SettingsRefusedError as error:
        for line in error.reason.splitlines():
            print(f"penstock proxy: {line}", file=sys.stderr)  # noqa: T201 - said to whoever started it, not logged
        sys.exit(app.EXIT_REFUSED)
    sys.exit(app.main(chosen))


if __name__ == "__main__":
    main()

"""A throw-away broker: the real mosquitto, with the configuration that Penstock ships, on a free loopback port."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

from tests.fakes.ports import free_port

SHIPPED = Path(__file__).parents[2] / "docs" / "how-to" / "mosquitto.conf"
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MISSING = "needs mosquitto: apt-get install mosquitto"
START_SECONDS = 10


class Mosquitto:
    """Keeps its files in ``home``, and its port when it is started again."""

    def __init__(self, home: Path, *, changes: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self._config = home / "mosquitto.conf"
        self._log = home / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        replacements = {
            "listener 1883": f"listener {self.port} 127.0.0.1",
            "allow_anonymous false": "allow_anonymous true",
            "password_file /mosquitto/config/passwords": "",
            "persistence_location /mosquitto/data/": f"persistence_location {home}/",
            **(changes or {}),
        }
        text = SHIPPED.read_text()
        for shipped, local in replacements.items():
            assert text.count(f"{shipped}\n") == 1, f"mosquitto.conf lost the line {shipped!r}"
            text = text.replace(f"{shipped}\n", f"{local}\n")
        # Started by root, mosquitto would drop to a user that cannot enter a temporary folder.
        self._config.write_text(text + ("user root\n" if os.geteuid() == 0 else ""))

    async def start(self) -> None:
        """Return when it accepts connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([str(MOSQUITTO), "-c", str(self._config)], stdout=log, stderr=log)
        async with asyncio.timeout(START_SECONDS):
            while not await self._accepts():
                assert self._process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.02)

    def stop(self, *, kill: bool = False) -> None:
        """End it: properly, or as a power cut would."""
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait(START_SECONDS)
            self._process = None

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

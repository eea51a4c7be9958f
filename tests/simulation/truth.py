"""What the sources really run, at every moment: what the controllers have to find out."""

from dataclasses import dataclass, field

Run = tuple[str, int]
"""(key, epoch)"""


@dataclass
class Truth:
    running: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Key -> (epoch, URL) of what its source runs now."""
    stopped: set[Run] = field(default_factory=set)
    """Runs that an operator has stopped, and was told so: they must not run, whatever their source says."""
    either: set[Run] = field(default_factory=set)
    """Runs that may or may not have ended: an operator's stop without an answer, an upstream that ended by itself."""
    changes: int = 0
    """What sources and operators wished, in all."""

    def start(self, key: str, epoch: int, url: str) -> None:
        self.running[key] = (epoch, url)
        self.changes += 1

    def end(self, key: str) -> None:
        del self.running[key]
        self.changes += 1

    def forget(self) -> None:
        """The database was set back: what an operator was told may be forgotten."""
        self.either |= self.stopped
        self.stopped.clear()

    def must_run(self, key: str, epoch: int) -> bool:
        run = (key, epoch)
        return self.is_running(key, epoch) and run not in self.stopped and run not in self.either

    def is_running(self, key: str, epoch: int) -> bool:
        return key in self.running and self.running[key][0] == epoch

"""Every throw of the dice in a world, from one seed; and how hard the world is to live in."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weather:
    """Probabilities per event, and seconds between faults (on average). ``CALM`` is no fault at all."""

    crash_at_await: float = 0.0
    crash_at_commit: float = 0.0
    request_lost: float = 0.0
    reply_lost: float = 0.0
    request_late: float = 0.0
    """Arrives up to ``late_seconds`` later, when its sender has long given up."""
    request_doubled: float = 0.0
    reply_slow: float = 0.0
    message_doubled: float = 0.0
    message_late: float = 0.0
    late_seconds: float = 20.0


CALM = Weather()
STORM = Weather(
    crash_at_await=0.0004,
    crash_at_commit=0.003,
    request_lost=0.02,
    reply_lost=0.02,
    request_late=0.01,
    request_doubled=0.02,
    reply_slow=0.03,
    message_doubled=0.03,
    message_late=0.04,
)


class Chance:
    def __init__(self, seed: int, weather: Weather) -> None:
        self.dice = random.Random(seed)
        self.weather = weather

    def happens(self, probability: float) -> bool:
        return probability > 0 and self.dice.random() < probability

    def latency(self) -> float:
        """Of one hop on a network in order: mostly under 3 ms."""
        return self.dice.uniform(0.0003, 0.003)

    def between(self, low: float, high: float) -> float:
        return self.dice.uniform(low, high)

    def interval(self, mean: float) -> float:
        """Until the next of something that comes at random, so often on average."""
        return self.dice.expovariate(1.0 / mean)

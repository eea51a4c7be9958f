"""Rows that say what was wanted, and whether it is so."""

from bench.report import Row


def judged(what: str, value: str, shown: str, *, target: str, met: bool) -> Row:
    """A figure with a target; ``shown`` is what is compared with it."""
    return Row(what, value, f"{shown}; target {target}: **{'met' if met else 'not met'}**")


def ratio(what: str, cost: float, yardstick: float, name: str, *, at_most: float) -> Row:
    """CPU for each GB, as a multiple of somebody else's."""
    factor = cost / yardstick
    shown = f"{factor:.2f} x {name} ({yardstick:.3f})"
    return judged(what, f"{cost:.3f} CPU-s/GB", shown, target=f"≤ {at_most}", met=factor <= at_most)

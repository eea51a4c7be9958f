"""Measurements of the real thing, written to ``docs/reference/performance.md``. They report; they never judge.

``streams`` runs a whole machine through a thousand streams, ``planner`` times the pure plan. ``report`` knows rows,
tables and the page.
"""

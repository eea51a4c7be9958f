"""The byte path, side by side with a plain C fan-out and with the servers that people run instead, on one machine.

``tools`` compiles and drives the C programs, ``servers`` starts everything that is measured, ``watching`` takes one
measurement, ``delivery``, ``segments``, ``joining`` and ``memory`` make rows of them, ``part`` puts them together.
"""

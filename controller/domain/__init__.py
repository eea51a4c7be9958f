"""The controller's decisions: pure functions on frozen values. No await, no clock, no I/O, no logging."""

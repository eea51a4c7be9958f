"""The database: what the controller remembers.

``engine`` runs plain functions on a ``Session``, one call a transaction; ``tables`` says what is kept; ``migrate``
brings a database up to date. The other modules hold those functions, named by noun: ``streams``, ``outbox``,
``history`` ...; ``record`` and ``plans`` are the two that write a whole batch of decisions in one transaction.

Functions take and return values of ``controller.domain``; no row leaves this room. Nobody else imports SQLAlchemy.
"""

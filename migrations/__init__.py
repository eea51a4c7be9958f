"""The steps of the database's schema, run by ``controller.store.migrate``. Each is additive; a removal comes later."""

"""Public fixtures and doubles for users' own tests."""

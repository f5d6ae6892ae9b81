"""``make studio``, and what starts a real Label Studio for it and for tests."""

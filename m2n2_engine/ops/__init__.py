"""The seven steps of the method as pure functions: no state, no input checks."""

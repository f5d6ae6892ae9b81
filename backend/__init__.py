"""The protocols: HTTP, Label Studio's payloads, image references. Knows no torch and no attention."""

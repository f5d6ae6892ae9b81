"""The version of this release; everything else reads it here."""

__version__ = "0.1.0"

"""The command line ``m2n2``: commands that are given their settings and read no environment."""

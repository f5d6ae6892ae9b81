"""Images of tasks: from a reference to a picture, within every limit."""

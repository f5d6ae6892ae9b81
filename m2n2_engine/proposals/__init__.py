"""Masks for a picture by what was accepted in others: where cells of the network find their like, a prompt is made."""

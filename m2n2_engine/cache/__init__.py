"""What is kept of an image, on three tiers: sessions on the device, factors in host memory, factors on disk."""

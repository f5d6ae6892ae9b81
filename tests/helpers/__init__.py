"""What several tests share. Programs that a test starts in another Python lie beside that test."""

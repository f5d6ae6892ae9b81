"""The page at / that people try the server with: an image of theirs, clicks, a mask."""

"""Images drawn by this package, with exact annotations: streets and crowds. Only what draws them needs OpenCV."""

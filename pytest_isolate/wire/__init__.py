"""Frames, their encoding and the one I/O loop. Knows neither pytest nor sandboxes."""

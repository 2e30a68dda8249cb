"""Anonymizing files. Knows video and numpy; no torch, no training code, no data set."""

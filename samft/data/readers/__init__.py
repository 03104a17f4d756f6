"""Readers: one file a format, from bytes on disk to plain arrays. No Lightning in here."""

"""Masks judged by people on a scale of 1 to 10, without knowing whose they are."""

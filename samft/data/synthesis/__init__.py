"""Draws images with instance masks from nothing but a seed: shapes, textures, optics, scenes."""

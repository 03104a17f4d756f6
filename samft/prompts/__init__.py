"""Prompt simulators: masks in, prompts out."""

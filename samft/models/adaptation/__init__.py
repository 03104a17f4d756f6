"""What of a SAM is trained, and the small things trained in its place: LoRA and adapters."""

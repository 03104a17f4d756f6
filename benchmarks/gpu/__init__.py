"""Speed and memory of fine-tuning on a GPU, beside `transformers` + peft; see `__main__`."""

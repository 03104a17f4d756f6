"""What a frozen part of the model computed, kept on disk: keys, the store, sizes, speed."""

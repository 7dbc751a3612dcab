"""Records, tokenizers, packing and the input pipeline."""

"""A prepared corpus on the disk: Megatron's .bin and .idx, its manifest, its tokenizer."""

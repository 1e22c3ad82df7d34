"""What a phase reads of prepared corpora: order, packing, samples, and what a sample was made of."""

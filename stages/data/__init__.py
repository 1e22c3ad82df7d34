"""Corpora: from files to the samples that training reads. NumPy in, NumPy out; no torch.

Each package imports only from those above it in this list, and from the modules beside this file, which all share:

- `tokens`: tokenizers, chat templates, conversations: a document to token ids, and which of them are learned
- `files`: a user's files, row by row, to documents
- `corpus`: a prepared corpus on the disk
- `generated`: corpora that are made here, from what is installed
- `loading`: what a phase reads of prepared corpora: order, packing, samples
- `preparing`: `stages data`
"""

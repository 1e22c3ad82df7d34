"""Tokenizers, chat templates and conversations: a document to token ids, and which of them are learned."""

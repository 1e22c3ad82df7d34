"""What the command's words do; each module is imported only when its word is typed."""

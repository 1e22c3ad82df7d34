"""A user's files, row by row, to documents: text, tables, pictures, and what is wrong with a row."""

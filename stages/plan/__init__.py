"""What a pipeline will take, from its resolved specs alone: tokens, steps, operations, time, memory, disk."""

"""Steps of the torch engine traced on fake CUDA tensors, on a machine without a GPU: nothing is computed.

torch's fake tensors have a device, a type and a shape, and no memory. Forward and backward pass and update go over them
as over a GPU's, through the code that is for GPUs alone, and `watch.py` looks at every operation. That finds tensors on
two devices, types and shapes that a kernel refuses, waits for the GPU, operations without a deterministic form, and
views that FlashAttention cannot read. It says nothing of what a GPU computes, how fast, and in which order: for that
there is tests/cuda.
"""

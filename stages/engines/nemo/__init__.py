"""The NeMo engine: language-model stages through Megatron-Bridge and Megatron-Core.

NVIDIA's NeMo Framework trains language models with Megatron-Bridge on Megatron-Core; nemo-toolkit 3 is for speech, and
the line with `nemo.collections.llm` ended at 2.7. Only this package imports megatron, and only `engines.run` chooses
it. Never executed on a GPU.
"""

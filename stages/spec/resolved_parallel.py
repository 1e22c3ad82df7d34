"""Engines, what each computes in, and how the NeMo engine divides a stage over its ranks."""

from __future__ import annotations

from typing import Literal, assert_never

from stages.spec.frozen import Frozen

Engine = Literal["torch", "nemo"]
TorchClass = Literal["torch-fp32", "torch-bf16"]
NemoClass = Literal["nemo-fp32", "nemo-bf16"]
EngineClass = Literal[TorchClass, NemoClass]
Recompute = Literal["none", "selective", "full"]  # nothing | the core of attention | all inside a layer


def engine_of(engine_class: EngineClass) -> Engine:
    """The engine that computes in a class."""
    match engine_class:
        case "torch-fp32" | "torch-bf16":
            return "torch"
        case "nemo-fp32" | "nemo-bf16":
            return "nemo"
        case _:
            assert_never(engine_class)


def computes_in_bf16(engine_class: EngineClass) -> bool:
    """Whether forward and backward passes run in bf16, with fp32 weights as masters."""
    match engine_class:
        case "torch-fp32" | "nemo-fp32":
            return False
        case "torch-bf16" | "nemo-bf16":
            return True
        case _:
            assert_never(engine_class)


class Parallel(Frozen):
    """How Megatron-Core divides one model; what is left of the ranks are replicas (`Execution.dp`).

    The names are Core's. Experts are divided over `ep` of the tp * cp * dp ranks of a pipeline stage.
    """

    tp: int  # tensor parallel: heads, and the columns or rows of matrices
    pp: int  # pipeline parallel: layers
    cp: int  # context parallel: positions of a row
    ep: int  # expert parallel: routed experts
    vpp: int  # pieces of layers that each pipeline rank has (interleaved schedule); 1: one piece
    sequence_parallel: bool  # norms and residuals divided by position over the tensor parallel ranks
    distributed_optimizer: bool  # optimizer's state divided over the replicas (ZeRO stage 1)
    recompute: Recompute

    @property
    def ranks_of_a_model(self) -> int:
        """Ranks that have one model together."""
        return self.tp * self.pp * self.cp

    @property
    def layers_again(self) -> bool:
        """Whether the backward pass computes all inside a layer again, from the layer's input."""
        match self.recompute:
            case "none" | "selective":
                return False
            case "full":
                return True
            case _:
                assert_never(self.recompute)

    @property
    def words(self) -> str:
        """What is divided, in short: t8 c16; "" for a model whole on one rank."""
        divided = (("t", self.tp), ("p", self.pp), ("v", self.vpp), ("c", self.cp), ("e", self.ep))
        return " ".join(f"{letter}{number}" for letter, number in divided if number > 1)

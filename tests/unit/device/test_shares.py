"""What a step's time goes to: names of kernels as an H100 has them, and the shares of a step."""

from __future__ import annotations

import pytest

from benchmarks.device import shares
from benchmarks.device.training import CPU


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNT", "products of matrices"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_cublas", "products of matrices"),
        ("kernel_cutlass_kernel_flash_attncuteflash_bwd_sm90FlashAttentionBackwardSm90", "attention"),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<128, 128, 64, 4>>", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_6", "attention"),
        ("void at::native::(anonymous namespace)::cunn_SoftMaxForward<4, float, float, float>", "softmax of the loss"),
        ("void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<BFloat16, float, true>", "RMSNorm"),
        ("void at::native::(anonymous namespace)::cuComputePartGradGammaBeta<BFloat16, float>", "RMSNorm"),
        ("void multi_tensor_apply_kernel<FusedOptimizerTensorListMetadata<4>>", "gradients, clip and update"),
        ("void at::native::unrolled_elementwise_kernel<direct_copy_kernel_cuda>", "copies and fills"),
        ("void at::native::vectorized_elementwise_kernel<4, FillFunctor<float>>", "copies and fills"),
        ("Memcpy HtoD (Pinned -> Device)", "copies and fills"),
        ("void at::native::vectorized_elementwise_kernel<4, CUDAFunctor_add<BFloat16>>", "element by element"),
        ("void at::native::reduce_kernel<512, 1, ReduceOp<float, func_wrapper_t>>", "sums"),
        ("void a_kernel_of_another_name()", "others"),
    ],
)
def test_a_kernel_is_known_by_its_name(name: str, kind: str) -> None:
    assert shares.kind(name) == kind


def test_kinds_and_what_is_left_make_up_the_step() -> None:
    spent = {"gemm a": 0.30, "gemm b": 0.10, "softmax": 0.05, "x": 0.01}
    head, *parts = shares.found_rows(CPU[0], spent, 0.5)
    assert head.ours == "0.500 s a step, median"
    assert [(row.what, row.setting, row.ours) for row in parts[:4]] == [
        ("its products of matrices", "80.0%", "400.0 ms"),
        ("its softmax of the loss", "10.0%", "50.0 ms"),
        ("its others", "2.0%", "10.0 ms"),
        ("its time without a kernel", "8.0%", "40.0 ms"),
    ]
    assert [row.setting for row in parts[4:]] == [
        "gemm a (products of matrices)", "gemm b (products of matrices)", "softmax (softmax of the loss)", "x (others)",
    ]  # fmt: skip

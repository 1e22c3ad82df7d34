"""What holds for Muon whatever the numbers are."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.train.muon import muon_step, newton_schulz

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def step(parameters: list[torch.Tensor], gradients: list[torch.Tensor]) -> None:
    muon_step(
        parameters,
        gradients,
        [torch.zeros_like(parameter) for parameter in parameters],
        lr=0.1,
        momentum=0.95,
        nesterov=True,
        coefficients=COEFFICIENTS,
        steps=5,
        update_rms=0.2,
    )


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_a_matrix_and_its_transpose_take_transposed_steps(rows: int, columns: int, seed: int) -> None:
    gradient = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    straight, turned = torch.zeros(rows, columns), torch.zeros(columns, rows)
    step([straight], [gradient.clone()])
    step([turned], [gradient.T.contiguous()])
    torch.testing.assert_close(straight, turned.T, rtol=1e-3, atol=1e-5)


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**31))
def test_the_update_does_not_depend_on_the_length_of_the_gradient(scale: float, seed: int) -> None:
    gradient = torch.randn(6, 8, generator=torch.Generator().manual_seed(seed))
    plain, scaled = torch.zeros(6, 8), torch.zeros(6, 8)
    step([plain], [gradient.clone()])
    step([scaled], [gradient * scale])
    torch.testing.assert_close(plain, scaled, rtol=1e-2, atol=1e-3)


@given(count=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_matrices_of_a_batch_do_not_see_each_other(count: int, seed: int) -> None:
    matrices = torch.randn(count, 4, 8, generator=torch.Generator().manual_seed(seed))
    together = newton_schulz(matrices, COEFFICIENTS, 5)
    alone = torch.cat([newton_schulz(matrix[None], COEFFICIENTS, 5) for matrix in matrices])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)

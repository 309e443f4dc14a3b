"""The start of the S5 state matrix: the normal part of HiPPO-LegS, diagonalised."""

from __future__ import annotations

import functools

import numpy as np


def hippo_normal(size: int) -> np.ndarray:
    """Returns HiPPO-N, [size, size] float64: -1/2 on the diagonal, skew-symmetric beside it.

        A_nk = -1/2  if n = k,   -sqrt(n + 1/2) sqrt(k + 1/2)  if n > k,   the negative of that if n < k

    Source: Gu et al. 2022 (S4D), section 4.1; Smith et al. 2022 (S5), section 4.3.
    """
    root = np.sqrt(np.arange(size) + 0.5)
    lower = np.tril(np.outer(root, root), -1)
    return -0.5 * np.eye(size) - lower + lower.T


@functools.lru_cache(maxsize=32)  # a large matrix takes seconds, and every layer and seed asks for the same
def diagonalise(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Diagonalises HiPPO-N and keeps one of each conjugate pair.

    A real system x' = A x is the sum of its modes and their conjugates: x = 2 Re(V z).

    Args:
      size: number N of real states, even.

    Returns:
      The frequencies, imaginary parts of the eigenvalues, [N / 2], all positive (every real part is -1/2);
      and the eigenvectors V, complex [N, N / 2], of length 1.
    """
    # A + I/2 is skew-symmetric, so -i (A + I/2) is Hermitian: real eigenvalues, orthonormal vectors.
    frequencies, vectors = np.linalg.eigh(-1j * (hippo_normal(size) + 0.5 * np.eye(size)))
    half = size // 2
    frequencies, vectors = frequencies[half:], vectors[:, half:]
    for array in (frequencies, vectors):
        array.flags.writeable = False  # it is shared
    return frequencies, vectors

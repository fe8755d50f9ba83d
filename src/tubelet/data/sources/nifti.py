"""NIfTI volumes (``.nii``, ``.nii.gz``), read by nibabel, which the extra ``nifti`` installs.

The array [X, Y, Z] is turned to the nearest RAS axes, so that x runs to the right, y to the front and z to the head of
the patient, whatever the scanner stored. Slices along z are the frames, from the feet up. In each slice the patient's
front is at the top and the patient's right is on the right. The header's scale and offset are applied to the values.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tubelet.errors import DataError, reason


def is_nifti(path: str | Path) -> bool:
    """Whether a file is a NIfTI volume, by its suffix."""
    return Path(path).name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: Path) -> np.ndarray:
    """Read the volume as an array [T, H, W] = [Z, Y, X], in its stored type, or in float if it is scaled.

    Raises:
        DataError: nibabel is not installed, or the file is no 3-D NIfTI volume.
    """
    nibabel = _nibabel(path)
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        array = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise DataError(f"{path}: not a NIfTI volume ({reason(error)}); expected .nii or .nii.gz") from None
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise DataError(f"{path}: has shape {array.shape}; expected one volume [X, Y, Z], not a series or colors")
    return np.ascontiguousarray(array.transpose(2, 1, 0)[:, ::-1])


def nifti_like(path: Path, values: Float[np.ndarray, "T H W"]) -> bytes:
    """A ``.nii.gz`` file of float values with the axes, the affine and the units of the volume at ``path``.

    Args:
        values: on the slices and pixels of ``read_nifti``.

    Raises:
        DataError: nibabel is not installed, or the file is no volume of this size.
    """
    nibabel = _nibabel(path)
    image = nibabel.load(path)
    stored = nibabel.io_orientation(image.affine)  # of each stored axis: which of x, y and z, and whether backward
    canonical = np.ascontiguousarray(values[:, ::-1].transpose(2, 1, 0))  # X Y Z
    back = nibabel.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), stored)
    array = nibabel.apply_orientation(canonical, back).astype(np.float32)
    if array.shape != tuple(image.shape[:3]):
        raise DataError(f"{path}: is a volume of {image.shape[:3]}; the map has {array.shape}")
    made = nibabel.Nifti1Image(array, image.affine)
    made.header.set_xyzt_units(*image.header.get_xyzt_units())
    return gzip.compress(made.to_bytes(), mtime=0)


def _nibabel(path: Path) -> Any:
    try:
        import nibabel
    except ImportError:
        raise DataError(f"{path}: reading NIfTI needs nibabel; install it with: pip install 'tubelet[nifti]'") from None
    return nibabel

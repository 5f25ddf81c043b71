"""Array aliases and the types of what users pass in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatPanel: TypeAlias = npt.NDArray[np.float64]
"""Array of shape (n_bars, n_assets), C order, read-only; NaN where there is no bar."""

FloatVector: TypeAlias = npt.NDArray[np.float64]
IntVector: TypeAlias = npt.NDArray[np.int64]
CodeVector: TypeAlias = npt.NDArray[np.int32]
ByteVector: TypeAlias = npt.NDArray[np.int8]
BoolVector: TypeAlias = npt.NDArray[np.bool_]
FloatBlock: TypeAlias = npt.NDArray[np.float64]
"""Array of shape (n_fields, n): each row is one field, named by an IntEnum."""

IndexVector: TypeAlias = npt.NDArray[np.uint32]
IndexBlock: TypeAlias = npt.NDArray[np.uint32]
IntBlock: TypeAlias = npt.NDArray[np.int64]
Index: TypeAlias = int | np.integer[Any]
"""A place in an array; unsigned in the hot parts of a kernel."""
CodeBlock: TypeAlias = npt.NDArray[np.int32]

FrameLike: TypeAlias = Any
"""A polars DataFrame or LazyFrame, a pandas DataFrame, or an Arrow stream object."""

WeightsFn: TypeAlias = Any
"""A column name, a polars expression, a weights frame, or a callable."""

WeightsCallback: TypeAlias = Callable[..., Any]

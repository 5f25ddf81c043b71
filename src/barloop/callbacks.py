"""What a Python callback returns becomes one row of sparse decisions."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from barloop._kernels.tolerances import GROSS_TOLERANCE, WEIGHT_DUST
from barloop.enums import Decision
from barloop.errors import WeightsError, suggestion
from barloop.limits import Limits
from barloop.panel import Panel
from barloop.typing import FloatVector, IndexVector, IntVector
from barloop.weights import Partial, gross_error, weight_error

MARKED_HINT = "\nHint: equal_weight(...) gives the assets it marks equal weights."
PANDAS_HINT = (
    "\nHint: index the Series by asset, e.g. pd.Series(weights, index=bar.assets)."
)


class DecisionRow:
    """Buffers of one decision, written by `accept`, read by the loop.

    Parameters
    ----------
    panel : Panel
        Assets by name.
    limits : Limits
        Shorts and gross.
    """

    def __init__(self, panel: Panel, limits: Limits) -> None:
        n_assets = panel.n_assets
        self._panel = panel
        self._limits = limits
        self._most = float(limits.max_gross) + GROSS_TOLERANCE
        self.start: IntVector = np.zeros(2, dtype=np.int64)
        self.asset: IndexVector = np.zeros(max(n_assets, 1), dtype=np.uint32)
        self.weight = np.zeros(max(n_assets, 1))

    def accept(self, said: Any, t: int) -> int:
        """Check what the callback said at bar t and write it.

        Parameters
        ----------
        said : None, mapping, array or Series
            The table of decisions is in ``docs/semantics.md``.
        t : int
            The bar, for messages.

        Returns
        -------
        int
            A `Decision` code.

        Raises
        ------
        WeightsError
            If it is not a decision; names bar, asset and value.
        """
        if said is None:
            return Decision.NONE
        if isinstance(said, Mapping):
            return self._accept_mapping(said, t)
        if isinstance(said, np.ndarray):
            return self._accept_array(said, t)
        if isinstance(said, pl.Series):
            return self._accept_series(said, t)
        if type(said).__module__.startswith("pandas") and hasattr(said, "index"):
            return self._accept_pandas(said, t)
        msg = (
            "the weights function must return None, a mapping of asset to weight, an "
            f"array or a Series, got {type(said).__name__} at "
            f"{self._panel.show_bar(t)}."
        )
        raise WeightsError(msg)

    def _accept_mapping(self, said: Mapping[Any, Any], t: int, hint: str = "") -> int:
        index = self._panel.asset_index
        allow_short = self._limits.allow_short
        keeps_zeros = isinstance(said, Partial)
        pairs: list[tuple[int, float]] = []
        gross = 0.0
        for asset, value in said.items():
            try:
                i = index[asset]
            except (KeyError, TypeError):
                raise self._unknown(asset, t, hint) from None
            if type(value) is not float:
                value = 0.0 if value is None else self._number(value, i, t)
            if not WEIGHT_DUST < value < math.inf:
                if abs(value) <= WEIGHT_DUST:
                    value = 0.0
                    if not keeps_zeros:
                        continue
                elif not math.isfinite(value) or not allow_short:
                    raise weight_error(self._panel, t, i, value)
            pairs.append((i, value))
            gross += abs(value)
        if gross > self._most:
            raise gross_error(self._panel, t, gross, self._limits)
        if not pairs and said and all(value is None for value in said.values()):
            # Nulls only: the same as nothing said.
            return Decision.NONE
        if pairs:
            pairs.sort()
            assets, weights = zip(*pairs, strict=True)
            self.asset[: len(pairs)] = assets
            self.weight[: len(pairs)] = weights
        self.start[1] = len(pairs)
        return Decision.PARTIAL if keeps_zeros else Decision.COMPLETE

    def _accept_array(
        self, said: np.ndarray[Any, Any], t: int, what: str = "an array"
    ) -> int:
        n_assets = self._panel.n_assets
        if said.shape != (n_assets,):
            msg = (
                f"the weights function returned {what} of shape {said.shape} at "
                f"{self._panel.show_bar(t)}; the shape must be ({n_assets},), one "
                "weight per asset of bar.assets."
            )
            raise WeightsError(msg)
        if said.dtype.kind not in "fiu":
            hint = MARKED_HINT if said.dtype.kind == "b" else ""
            msg = (
                f"the weights function returned {what} of {said.dtype} at "
                f"{self._panel.show_bar(t)}; weights must be numbers.{hint}"
            )
            raise WeightsError(msg)
        assets = said.nonzero()[0]
        weights = said[assets].astype(np.float64)
        size = np.abs(weights)
        if size.size and size.min() <= WEIGHT_DUST:
            kept = size > WEIGHT_DUST
            assets, weights, size = assets[kept], weights[kept], size[kept]
        gross = float(size.sum())
        # A NaN fails the first comparison.
        if not gross <= self._most or (
            not self._limits.allow_short and weights.size and weights.min() < 0.0
        ):
            self._refuse(assets, weights, gross, t)
        self.asset[: assets.size] = assets
        self.weight[: assets.size] = weights
        self.start[1] = assets.size
        return Decision.COMPLETE

    def _refuse(
        self, assets: IntVector, weights: FloatVector, gross: float, t: int
    ) -> None:
        wrong = ~np.isfinite(weights)
        if not self._limits.allow_short:
            wrong |= weights < 0.0
        if wrong.any():
            first = int(wrong.argmax())
            value = float(weights[first])
            raise weight_error(self._panel, t, int(assets[first]), value)
        raise gross_error(self._panel, t, gross, self._limits)

    def _accept_series(self, said: pl.Series, t: int) -> int:
        if said.dtype.is_numeric() or said.dtype == pl.Null:
            if len(said) == said.null_count():
                return self._nothing(said, t)
            # Decimal would become objects.
            filled = said.cast(pl.Float64).fill_null(0.0)
            return self._accept_array(filled.to_numpy(), t, "a Series")
        hint = MARKED_HINT if said.dtype == pl.Boolean else ""
        msg = (
            f"the weights function returned a Series of {said.dtype} at "
            f"{self._panel.show_bar(t)}; weights must be numbers.{hint}"
        )
        raise WeightsError(msg)

    def _accept_pandas(self, said: Any, t: int) -> int:
        if said.ndim != 1:
            msg = (
                "of pandas, the weights function may return a Series by asset, got "
                f"{type(said).__name__} at {self._panel.show_bar(t)}."
            )
            raise WeightsError(msg)
        if not said.index.is_unique:
            twice = said.index[said.index.duplicated()][0]
            msg = (
                "the weights must name an asset once: "
                f"{twice!r} stands twice at {self._panel.show_bar(t)}.\n"
                "Hint: add them up, e.g. weights.groupby(level=0).sum()."
            )
            raise WeightsError(msg)
        numbered = said.index.dtype.kind in "iu"
        hint = PANDAS_HINT if numbered else ""
        return self._accept_mapping(said.to_dict(), t, hint)

    def _nothing(self, said: pl.Series, t: int) -> int:
        if len(said) != self._panel.n_assets:
            return self._accept_array(np.zeros(len(said)), t, "a Series")
        return Decision.NONE

    def _unknown(self, asset: Any, t: int, hint: str) -> WeightsError:
        known = [str(one) for one in self._panel.asset_values]
        near = suggestion(asset, known) if isinstance(asset, str) else ""
        return WeightsError(
            f"the weights at {self._panel.show_bar(t)} name an unknown asset "
            f"{asset!r}; the data has {len(known):,} "
            f"{'asset' if len(known) == 1 else 'assets'}.{near}{hint}"
        )

    def _number(self, value: Any, i: int, t: int) -> float:
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            return float(value)
        msg = (
            f"weights must be numbers: {value!r} at {self._panel.show_bar(t)}, "
            f"asset {self._panel.show_asset(i)}."
        )
        raise WeightsError(msg)

"""What a Python callback says becomes one row of sparse decisions."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from barloop._kernels.tolerances import GROSS_TOLERANCE, WEIGHT_DUST
from barloop.enums import Decision
from barloop.errors import WeightsError
from barloop.limits import Limits
from barloop.orders import BarOrders, unknown_asset, weight_number
from barloop.panel import Panel
from barloop.typing import FloatVector, IndexVector, IntVector
from barloop.weight_rows import gross_error, weight_error
from barloop.weights import Partial

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
        Shorts, gross and the largest weight.

    Attributes
    ----------
    orders : BarOrders
        What the callback orders name by name, for the `Bar` it is called with.
    """

    def __init__(self, panel: Panel, limits: Limits) -> None:
        n_assets = panel.n_assets
        self._panel = panel
        self._limits = limits
        self._most = float(limits.max_gross) + GROSS_TOLERANCE
        if limits.on_excess == "scale":
            # The loop scales; an infinite gross is still an error.
            self._most = sys.float_info.max
        self._max_weight = math.inf if limits.max_weight is None else limits.max_weight
        self.orders = BarOrders(panel, limits)
        self.start: IntVector = np.zeros(2, dtype=np.int64)
        self.asset: IndexVector = np.zeros(max(n_assets, 1), dtype=np.uint32)
        self.weight = np.zeros(max(n_assets, 1))

    def accept(self, said: Any, t: int) -> int:
        """Check what the callback said at bar t and write it.

        Parameters
        ----------
        said : None, mapping, array or Series
            The table of decisions is in ``docs/semantics.md``.  None when it has
            ordered name by name, or says nothing.
        t : int
            The bar.

        Returns
        -------
        int
            A `Decision` code.

        Raises
        ------
        WeightsError
            If it is not a decision; names bar, asset and value.
        """
        self.orders.t = -1
        if self.orders.weights:
            return self._accept_orders(said, t)
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

    def _accept_orders(self, said: Any, t: int) -> int:
        ordered = self.orders.weights
        if said is not None:
            first = self._panel.show_asset(next(iter(ordered)))
            n = len(ordered)
            msg = (
                f"the weights function ordered {n:,} {'asset' if n == 1 else 'assets'}"
                f", first {first}, and returned {type(said).__name__} as well, at "
                f"{self._panel.show_bar(t)}.\n"
                "Hint: return None after ordering, or return all of the decision."
            )
            raise WeightsError(msg)
        gross = sum(map(abs, ordered.values()))
        if gross > self._most:
            self._require_gross(np.fromiter(ordered.values(), np.float64), t)
        self._write(sorted(ordered.items()))
        return Decision.PARTIAL

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
                raise unknown_asset(self._panel, t, asset, hint) from None
            if type(value) is not float:
                value = (
                    0.0 if value is None else weight_number(self._panel, t, i, value)
                )
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
            self._require_gross(np.array([weight for _, weight in pairs]), t)
        if not pairs and said and all(value is None for value in said.values()):
            # Nulls only: the same as nothing said.
            return Decision.NONE
        pairs.sort()
        self._write(pairs)
        return Decision.PARTIAL if keeps_zeros else Decision.COMPLETE

    def _write(self, pairs: list[tuple[int, float]]) -> None:
        if pairs:
            assets, weights = zip(*pairs, strict=True)
            self.asset[: len(pairs)] = assets
            self.weight[: len(pairs)] = weights
        self.start[1] = len(pairs)

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
            self._require_valid(assets, weights, t)
            self._require_gross(weights, t)
        self.asset[: assets.size] = assets
        self.weight[: assets.size] = weights
        self.start[1] = assets.size
        return Decision.COMPLETE

    def _require_valid(self, assets: IntVector, weights: FloatVector, t: int) -> None:
        wrong = ~np.isfinite(weights)
        if not self._limits.allow_short:
            wrong |= weights < 0.0
        if wrong.any():
            first = int(wrong.argmax())
            value = float(weights[first])
            raise weight_error(self._panel, t, int(assets[first]), value)

    def _require_gross(self, weights: FloatVector, t: int) -> None:
        """Refuse a gross above the limit, no weight counting more than `max_weight`."""
        gross = float(np.minimum(np.abs(weights), self._max_weight).sum())
        if gross > self._most:
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

"""Whether weights depend on data that were not known yet."""

from barloop.lookahead.check import check_lookahead
from barloop.lookahead.leaks import Leak
from barloop.lookahead.report import LookaheadReport

__all__ = ["Leak", "LookaheadReport", "check_lookahead"]

"""Tables of scores as a notebook shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence


class Table:
    """Rows as a table: HTML in a notebook, aligned text elsewhere.

    Args:
        rows: one mapping per row, or per column a list; keys become column titles.
        digits: decimals of floats, for all columns or per column. A NaN is shown as an empty cell.
        best: column -> "max" or "min": the best number of it is set in bold.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, object]] | Mapping[str, Sequence],
        digits: int | Mapping[str, int] = 3,
        best: Mapping[str, str] | None = None,
    ) -> None:
        import pandas

        self.frame = pandas.DataFrame(rows)
        self._best = dict(best or {})
        floats = self.frame.select_dtypes("float").columns
        self._formats = {name: f"{{:.{digits if isinstance(digits, int) else digits.get(name, 3)}f}}" for name in floats}

    def _repr_html_(self) -> str:
        from pandas.io.formats.style import Styler

        own = hashlib.sha256(repr(self).encode()).hexdigest()[:8]  # of two tables in a page each keeps its bold numbers
        style = Styler(self.frame, uuid=own, cell_ids=False).hide(axis="index").format(self._formats, na_rep="")
        for column, kind in self._best.items():
            mark = style.highlight_max if kind == "max" else style.highlight_min
            style = mark(subset=[column], props="font-weight: bold")
        return style.to_html()

    def __repr__(self) -> str:
        shown = self.frame.copy()
        for name, form in self._formats.items():
            shown[name] = ["" if value != value else form.format(value) for value in shown[name]]
        return shown.to_string(index=False)

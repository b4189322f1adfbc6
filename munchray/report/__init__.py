"""Analysis of a search's finished trials: effects of order with intervals, figures, span errors, an HTML page."""

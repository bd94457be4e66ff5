"""Sessions at their positions in the log, and how the log reaches them."""

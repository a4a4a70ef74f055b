"""BSS Eval in versions 3 and 4, oracles, aggregation, museval-format stores and the gate: what a separator is judged by."""

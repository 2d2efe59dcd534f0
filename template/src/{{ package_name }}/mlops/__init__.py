"""The template's part: one module per promise. Updates replace it; extend it beside."""

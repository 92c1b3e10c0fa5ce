"""Stores of older layouts, and what made them."""

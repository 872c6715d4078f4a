"""Reproduction: which setting gives the published figure, and which differences are noise."""

"""Layers in two dimensions."""

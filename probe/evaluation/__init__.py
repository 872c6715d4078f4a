"""Evaluation: scores and zero-shot matrix, paired differences, and single images in context."""

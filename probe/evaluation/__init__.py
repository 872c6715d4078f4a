"""Detection measured: scores and their matrix, paired differences, one image among others."""

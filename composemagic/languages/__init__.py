"""The sentences users read, one language a file; English stands in the code itself."""

"""Files of rows, whatever their format, as columns of text."""

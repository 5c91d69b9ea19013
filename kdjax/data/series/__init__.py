"""Series of one's own: files of rows joined, cut into windows, labelled and split."""

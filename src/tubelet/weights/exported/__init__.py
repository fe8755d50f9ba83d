"""Models of other runtimes: files that carry their protocol and proof, opened as models of torch."""

"""Teaching from the page: classes, clips that are sorted, and one training at a time in a process of its own.

``lessons`` holds what people said, ``job`` what a training writes down, ``work`` is the process, and ``teacher`` starts
and stops it for the endpoints of ``routes``. All of it lies on the disk: a page or a server that ends loses nothing.
"""

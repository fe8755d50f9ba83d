"""What the command line does, as functions: ``tubelet.train``, ``evaluate``, ``compare``, ``predict``.

A command reads its options, calls the function here, and prints.
"""

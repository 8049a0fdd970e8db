"""`postern up`: the whole platform on one machine, for trying it and for its end-to-end tests.

It makes a development CA, writes a configuration file for each process, starts the six processes,
keeps them running and stops them in order. Python's standard library only.
"""

"""A real Kubernetes on this machine: two nodes, a balancer, the internet and an office LAN, each a network namespace.

docs/adr/0042 says why it is made so.
"""

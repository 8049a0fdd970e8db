module postern/tests/cluster/probe

go 1.21

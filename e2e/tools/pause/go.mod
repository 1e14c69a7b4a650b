// What holds a pod's namespaces open: the smallest image there can be.
module shoal.dev/e2e/pause

go 1.24.0

"""One file an algorithm box; conf/model/x.yaml names one and fills in its networks and numbers."""

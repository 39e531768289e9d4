"""`encoder`: features of a small network of ours, trained on the real training images; `python -m` trains one."""

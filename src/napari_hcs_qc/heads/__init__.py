"""Vector or crop to P(abnormal): kNN, linear."""

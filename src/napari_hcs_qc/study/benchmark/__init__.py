"""The benchmark: encoders × recipes × heads × numbers of annotations, as three tables."""

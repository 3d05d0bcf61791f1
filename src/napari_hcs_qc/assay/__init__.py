"""One assay folder on disk (plates, annotations, models, predictions) and the verbs of the loop."""

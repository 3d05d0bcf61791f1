"""What a person is shown of an assay."""

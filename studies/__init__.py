"""Studies behind the pages of docs/evidence: ``python -m studies.<name>.run``, from the project's root."""

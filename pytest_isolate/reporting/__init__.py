"""Words for people: failures, figures, the header, tables."""

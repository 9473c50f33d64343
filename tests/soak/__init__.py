"""`make soak`: the adapter under everything at once, for long, with every answer checked against what was true."""

"""Search by intent, for workflows and for tools: words by full text, meaning by vectors, one ranking of both."""

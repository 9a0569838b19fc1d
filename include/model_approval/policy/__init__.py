"""Policy as code: its schema, its loader, its evaluation. Pure; sees the domain alone."""

"""The nouns and rules of model approval. Imports pydantic, rfc8785 and the standard library, nothing of ours."""

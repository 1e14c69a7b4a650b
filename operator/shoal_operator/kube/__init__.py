"""The only code that speaks to an API server. Objects are plain dicts, as the server sends them."""

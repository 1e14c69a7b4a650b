"""The same requests to a real API server and to the embedded one, and what differs between the answers."""

"""Chart, images' assumptions, roles, and what pods may do."""

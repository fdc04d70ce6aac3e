"""What the site's build makes from the source: chapters, commands, the API."""

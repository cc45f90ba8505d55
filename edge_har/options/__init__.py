"""What an option is, and how its value is read and shown."""

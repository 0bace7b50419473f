"""SQLite and sealing, behind one `Store`."""

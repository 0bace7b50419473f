"""What the gateway does. Requests come from above, events from the link; nothing here knows HTTP or neonize."""

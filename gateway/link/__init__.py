"""WhatsApp, behind one `Link`."""

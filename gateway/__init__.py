"""A self-hosted WhatsApp linked-device gateway."""

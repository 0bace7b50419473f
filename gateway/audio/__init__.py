"""Bytes in, voice note out: nothing here fetches, stores or sends."""

"""Other people's APIs, one file each: their paths, words, envelope and headers over the gateway's own services. No state."""

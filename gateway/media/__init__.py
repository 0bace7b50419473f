"""Media on its way in: fetched from URLs, unpacked from `data:` URIs, looked at; never stored and never sent from here."""

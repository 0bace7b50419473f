"""A WhatsApp server on loopback, its virtual phones and contacts: the stock neonize library links to it.

Nothing of the daemon imports this package. Start it with `gateway.sandbox.server.Sandbox` or
`python -m gateway.sandbox`.
"""

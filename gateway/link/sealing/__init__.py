"""The page-sealing VFS, registered in the SQLite inside the WhatsApp library: `pages` is the cipher (the only file here that uses
cryptography), `capi` SQLite's C interface, `files` what a database, WAL and journal look like on disk, `vfs` the shim itself."""

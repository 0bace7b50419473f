"""`python -m gateway` is `wagateway`."""

from gateway.cli import main

if __name__ == "__main__":
    main()

"""The library in the application. Of other packages it imports only ``prometheus_client``, and that only to serve."""

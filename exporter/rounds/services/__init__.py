"""The domain ``services``: HTTP and TCP endpoints that are up, degraded or down."""

"""Every private name of ministack 1.5.33 that we touch, by service; nothing else touches one.

ministack has no plug-in interface, so these are hooks into its tables. Each has a test that fails loudly when the name
is gone or means another thing (`tests/local_aws/ministack_hooks/`); the version is pinned for the same reason.
Import these modules inside the server process only, after `host` has set ministack's environment: ministack reads that
while it is imported.
"""

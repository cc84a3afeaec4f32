"""Starts everything that dapr.yaml lists: broker, sidecars, apps; watches them; stops them and leaves nothing behind.

It knows apps by the strings in dapr.yaml only and imports none of them. The parts are usable one by one, because the
fault tests kill single ones: `system.System` is the door, `process.Process` one running part.
`daprd` is plain standard library: set-up uses it before any package is installed.
"""

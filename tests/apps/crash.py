"""An app for the launcher's tests that fails at start."""

raise SystemExit("crash: this app never starts")

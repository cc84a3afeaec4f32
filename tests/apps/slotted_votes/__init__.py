"""The votes service in a language where votes have slots."""

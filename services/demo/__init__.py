"""The demonstration: what a stranger sees after `make run`. It goes through the public HTTP doors only.

`script` makes up the votes, `orders` the orders, `doors` are the ways in,
`playing` does it and waits, `showing` prints what the read models say.
"""

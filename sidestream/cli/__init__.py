"""The program `sidestream`: one module a verb. Verbs know the kernel; they know no business.

A verb's module imports only typer and the standard library at the top, and the rest where it is used, so that
`sidestream --help` is quick. `main.VERBS` lists them.
"""

"""A projection as a running app: follows its log, serves queries, says how it is. Asynchronous."""

"""The bridge: takes anybody's events, doubles nothing when they are sent again, and hands them to the log.

`cloudevents` reads what comes in and says what is wrong with it, `recording` stores it once, `recent` looks back into the log.
"""

"""The order book: orders by state, revenue per day, the history of each order."""

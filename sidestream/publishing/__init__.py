"""From a service to the broker: directly or by the relay, in order within a stream. Asynchronous."""

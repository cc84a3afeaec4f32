"""What a broker does to events: measured on a live one, through a real sidecar, and said in words.

A probe publishes to topics of its own and looks at what was recorded and delivered; it knows neither the broker's name nor
who started the parts: `stage.Stage` is all it stands on. `sidestream broker check` sets the stage and clears it away.
"""

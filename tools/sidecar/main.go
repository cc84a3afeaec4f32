// The official daprd with every stable component, and two beside them that its `stablecomponents` build leaves out:
// the NATS JetStream pub/sub, and the name resolver `nameformat`, which resolves by a pattern and announces nothing
// on the network (the default one, mDNS, does).
//
// This program registers both and then hands over to Dapr's own entry point. Nothing else is changed. Build with
// `-tags stablecomponents`: without it daprd panics at start.
package main

import (
	"github.com/dapr/components-contrib/nameresolution/nameformat"
	"github.com/dapr/components-contrib/pubsub/jetstream"
	"github.com/dapr/dapr/cmd/daprd/app"
	nameresolutionloader "github.com/dapr/dapr/pkg/components/nameresolution"
	pubsubloader "github.com/dapr/dapr/pkg/components/pubsub"
)

func main() {
	pubsubloader.DefaultRegistry.RegisterComponent(jetstream.NewJetStream, "jetstream")
	nameresolutionloader.DefaultRegistry.RegisterComponent(nameformat.NewResolver, "nameformat")
	app.Run()
}

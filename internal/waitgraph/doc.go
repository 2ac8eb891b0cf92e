// Package waitgraph answers why an object doesn't make progress. From a snapshot of the objects (barriers, gates, leases,
// semaphores, their claims and arrivals, Jobs and Pods) it builds the graph of waiters and holders. In that graph it finds root
// causes (why.go), wait cycles (deadlock.go) and the dependencies of each object (graph_output.go). It talks to no API server and
// reads no clock.
//
// Most waits are facts: a pending Claim, a Gate's conditions. Waiting for a gate or a barrier writes nothing, so such waits are
// inferred from the commands of the running containers (pod_commands.go), and the results say that they are inferred.
package waitgraph

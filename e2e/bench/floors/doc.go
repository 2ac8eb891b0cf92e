// Package floors measures what the API server alone takes, so that everything
// else can be compared with it on whatever machine it runs.
//
// The objects are claims as konductor's own, of a resource type with the very
// same schema and rules but in a group of its own: the operator doesn't see
// them, and the policy of konductor's chart is not asked. The clients are as
// small as they can be: net/http, encoding/json, the fields that are looked
// at, and watches that have been open all along.
//
//   - Create: one object is created.
//   - RoundTrip: one client creates an object, another sees it by its watch and
//     writes the status, the first sees that. No operator can grant faster.
//   - CreateRate: creates per second, over 64 connections.
//   - FanOut: one object is changed; the last of 1000 watchers sees it.
package floors

// Package lowerbound measures what the API server alone takes, so that everything
// else can be compared with it on whatever machine it runs.
//
// The objects are claims like konductor's, of a CRD with the same schema and rules
// but in a group of its own: the operator doesn't watch them, and the admission
// policy of konductor's chart doesn't apply. The clients are as small as possible:
// net/http, encoding/json, the fields that are read, and watches that are open
// before the measurement.
//
//   - MeasureCreate: one object is created.
//   - MeasureGrantRoundTrip: one client creates an object, another sees it by its watch and
//     writes the status, the first sees that. No operator can grant faster.
//   - MeasureJobStart: the four writes in a row by which a Job completes, its hold goes to another
//     Job, and that starts. The Jobs are without annotations, and nobody runs them.
//   - MeasureCreateRate: creates per second, over 64 connections.
//   - MeasureFanOut: from a change of an object until the last of 1000 watchers sees it.
package lowerbound

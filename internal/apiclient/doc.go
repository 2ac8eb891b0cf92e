// Package apiclient has what the operator, the command line and the SDK share of talking to the API server: REST clients of
// several API groups, the server's clock, and an adapter for round trippers.
package apiclient

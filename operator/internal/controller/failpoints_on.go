//go:build konductor_failpoints

package controller

import "os"

// See failpoints_off.go for what each does.
var (
	notifyBeforeGrant = os.Getenv("KONDUCTOR_FAILPOINT") == "notify-before-grant"
	ignoreJobPods     = os.Getenv("KONDUCTOR_FAILPOINT") == "ignore-job-pods"
	arriveAsSuccess   = os.Getenv("KONDUCTOR_FAILPOINT") == "arrive-as-success"
	arriveEarly       = os.Getenv("KONDUCTOR_FAILPOINT") == "arrive-early"
)

//go:build konductor_failpoints

package controller

import "os"

// See failpoints_off.go for what each does.
var (
	notifyBeforeGrant = os.Getenv("KONDUCTOR_FAILPOINT") == "notify-before-grant"
	ignoreJobPods     = os.Getenv("KONDUCTOR_FAILPOINT") == "ignore-job-pods"
)

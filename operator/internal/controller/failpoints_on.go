//go:build konductor_failpoints

package controller

import "os"

// notifyBeforeGrant makes this build notify before it grants: see failpoints_off.go.
var notifyBeforeGrant = os.Getenv("KONDUCTOR_FAILPOINT") == "notify-before-grant"

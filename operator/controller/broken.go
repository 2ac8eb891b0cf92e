//go:build konductor_broken

package controller

import "os"

// tellsFirst is set when this build is to tell before it grants: see sound.go.
var tellsFirst = os.Getenv("KONDUCTOR_BROKEN") == "early"

//go:build !konductor_failpoints

package controller

// notifyBeforeGrant makes a build with the tag konductor_failpoints notify claims of a grant before the grant is written
// (failpoints_on.go), so that the checks of e2e/chaos can show that they would notice. In every other build it is a constant
// false, and the compiler removes the code.
const notifyBeforeGrant = false

// ignoreJobPods makes such a build end the hold of a Job that was deleted or stopped while its Pods run.
const ignoreJobPods = false

// arriveAsSuccess makes such a build let a failed Job arrive as not failed.
const arriveAsSuccess = false

// arriveEarly makes such a build let a Job or Pod arrive as soon as it is started.
const arriveEarly = false

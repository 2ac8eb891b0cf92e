package waitgraph

// Reason is an object's situation in one word. Reasons are stable: scripts may compare them. docs/why.md explains each.
type Reason string

// Reasons of objects that wait for nothing.
const (
	ReasonOpen        Reason = "Open"
	ReasonAvailable   Reason = "Available"
	ReasonComplete    Reason = "Complete"
	ReasonAboutToGo   Reason = "AboutToGo"
	ReasonRunning     Reason = "Running"
	ReasonHeldOutside Reason = "HeldOutside"
)

// Reasons to wait for another object: the chain continues with that.
const (
	ReasonWaitsForGate      Reason = "WaitsForGate"
	ReasonWaitsForBarrier   Reason = "WaitsForBarrier"
	ReasonWaitsForLease     Reason = "WaitsForLease"
	ReasonWaitsForSemaphore Reason = "WaitsForSemaphore"
	ReasonWaitsForSeveral   Reason = "WaitsForSeveral"
	ReasonConditionsNotMet  Reason = "ConditionsNotMet"
	ReasonArrivalsMissing   Reason = "ArrivalsMissing"
	ReasonLeaseHeld         Reason = "LeaseHeld"
	ReasonPermitsInUse      Reason = "PermitsInUse"
	ReasonPermitsReserved   Reason = "PermitsReserved"
	ReasonJobNotFinished    Reason = "JobNotFinished"
)

// Reasons for which the object never makes progress, as things stand.
const (
	ReasonDeadlock                Reason = "Deadlock"
	ReasonGateCycle               Reason = "GateCycle"
	ReasonPossibleDeadlock        Reason = "PossibleDeadlock"
	ReasonBarrierExceedsSemaphore Reason = "BarrierExceedsSemaphore"
	ReasonNobodyLeftToArrive      Reason = "NobodyLeftToArrive"
	ReasonAsksTooMuch             Reason = "AsksTooMuch"
	ReasonBarrierFailed           Reason = "BarrierFailed"
	ReasonBarrierTimedOut         Reason = "BarrierTimedOut"
	ReasonGateFailed              Reason = "GateFailed"
	ReasonGateTimedOut            Reason = "GateTimedOut"
	ReasonJobFailed               Reason = "JobFailed"
	ReasonSkipped                 Reason = "Skipped"
	ReasonAnnotationInvalid       Reason = "AnnotationInvalid"
	ReasonPodFailed               Reason = "PodFailed"
	ReasonNamespaceDenied         Reason = "NamespaceDenied"
	ReasonWrongState              Reason = "WrongState"
)

// Reasons for which somebody has to act, or some event has to come first.
const (
	ReasonBarrierMissing         Reason = "BarrierMissing"
	ReasonGateMissing            Reason = "GateMissing"
	ReasonLeaseMissing           Reason = "LeaseMissing"
	ReasonSemaphoreMissing       Reason = "SemaphoreMissing"
	ReasonJobMissing             Reason = "JobMissing"
	ReasonPodMissing             Reason = "PodMissing"
	ReasonTerminating            Reason = "Terminating"
	ReasonOperatorSilent         Reason = "OperatorSilent"
	ReasonSemaphorePaused        Reason = "SemaphorePaused"
	ReasonJobSuspended           Reason = "JobSuspended"
	ReasonJobPaused              Reason = "JobPaused"
	ReasonJobWithoutPods         Reason = "JobWithoutPods"
	ReasonJobBacksOff            Reason = "JobBacksOff"
	ReasonPodUnschedulable       Reason = "PodUnschedulable"
	ReasonPodSchedulingGated     Reason = "PodSchedulingGated"
	ReasonPodPending             Reason = "PodPending"
	ReasonPodTerminating         Reason = "PodTerminating"
	ReasonPodNodeLost            Reason = "PodNodeLost"
	ReasonPodStarting            Reason = "PodStarting"
	ReasonImagePullFails         Reason = "ImagePullFails"
	ReasonContainerCrashes       Reason = "ContainerCrashes"
	ReasonContainerMisconfigured Reason = "ContainerMisconfigured"
	ReasonUnreadable             Reason = "Unreadable"
	ReasonNotFollowed            Reason = "NotFollowed"
)

// urgency orders reasons by how much they explain, the most first: permanent ones, then those that somebody must act on, then
// those that just take time.
func (r Reason) urgency() int {
	switch r {
	case ReasonDeadlock, ReasonGateCycle:
		return 0
	case ReasonBarrierExceedsSemaphore, ReasonNobodyLeftToArrive, ReasonAsksTooMuch, ReasonBarrierFailed, ReasonBarrierTimedOut, ReasonGateFailed, ReasonGateTimedOut,
		ReasonJobFailed, ReasonSkipped, ReasonAnnotationInvalid, ReasonPodFailed, ReasonNamespaceDenied, ReasonWrongState:
		return 1
	case ReasonPossibleDeadlock:
		return 2
	case ReasonOperatorSilent, ReasonSemaphorePaused, ReasonJobSuspended, ReasonJobPaused, ReasonPodUnschedulable, ReasonPodSchedulingGated, ReasonPodNodeLost, ReasonImagePullFails,
		ReasonContainerCrashes, ReasonContainerMisconfigured, ReasonJobBacksOff:
		return 3
	case ReasonBarrierMissing, ReasonGateMissing, ReasonLeaseMissing, ReasonSemaphoreMissing, ReasonJobMissing, ReasonPodMissing, ReasonTerminating, ReasonJobWithoutPods,
		ReasonPodTerminating:
		return 4
	case ReasonPodPending, ReasonPodStarting, ReasonUnreadable, ReasonNotFollowed, ReasonArrivalsMissing, ReasonPermitsReserved:
		return 5
	case ReasonHeldOutside, ReasonRunning, ReasonAboutToGo, ReasonLeaseHeld, ReasonPermitsInUse:
		return 6
	default:
		return 7
	}
}

// neverProceeds reports whether the object won't make progress by itself, as things stand.
func (r Reason) neverProceeds() bool { return r.urgency() <= 1 }

// isHealthy reports whether nothing is wrong with the object.
func (r Reason) isHealthy() bool {
	return r == ReasonOpen || r == ReasonAvailable || r == ReasonComplete || r == ReasonAboutToGo || r == ReasonRunning
}

// Reasons returns all reasons, in the order of docs/why.md.
func Reasons() []Reason {
	return []Reason{
		ReasonOpen, ReasonAvailable, ReasonComplete, ReasonAboutToGo, ReasonRunning, ReasonHeldOutside,
		ReasonWaitsForGate, ReasonWaitsForBarrier, ReasonWaitsForLease, ReasonWaitsForSemaphore, ReasonWaitsForSeveral, ReasonConditionsNotMet, ReasonArrivalsMissing,
		ReasonLeaseHeld, ReasonPermitsInUse, ReasonPermitsReserved, ReasonJobNotFinished,
		ReasonDeadlock, ReasonGateCycle, ReasonPossibleDeadlock, ReasonBarrierExceedsSemaphore, ReasonNobodyLeftToArrive, ReasonAsksTooMuch, ReasonBarrierFailed,
		ReasonBarrierTimedOut, ReasonGateFailed, ReasonGateTimedOut, ReasonJobFailed, ReasonSkipped, ReasonAnnotationInvalid, ReasonPodFailed, ReasonNamespaceDenied, ReasonWrongState,
		ReasonBarrierMissing, ReasonGateMissing, ReasonLeaseMissing, ReasonSemaphoreMissing, ReasonJobMissing, ReasonPodMissing, ReasonTerminating, ReasonOperatorSilent, ReasonSemaphorePaused,
		ReasonJobSuspended, ReasonJobPaused, ReasonJobWithoutPods, ReasonJobBacksOff, ReasonPodUnschedulable, ReasonPodSchedulingGated, ReasonPodPending, ReasonPodTerminating,
		ReasonPodNodeLost, ReasonPodStarting, ReasonImagePullFails, ReasonContainerCrashes, ReasonContainerMisconfigured, ReasonUnreadable, ReasonNotFollowed,
	}
}

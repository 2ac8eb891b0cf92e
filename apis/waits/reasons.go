package waits

// Reason says in one word how an object stands. Reasons are stable: scripts may compare them. docs/why.md tells of each.
type Reason string

// Reasons for which nothing waits.
const (
	Open        Reason = "Open"
	Available   Reason = "Available"
	Complete    Reason = "Complete"
	AboutToGo   Reason = "AboutToGo"
	Running     Reason = "Running"
	HeldOutside Reason = "HeldOutside"
)

// Reasons to wait for something else: the chain goes on with that.
const (
	WaitsForGate      Reason = "WaitsForGate"
	WaitsForBarrier   Reason = "WaitsForBarrier"
	WaitsForLease     Reason = "WaitsForLease"
	WaitsForSemaphore Reason = "WaitsForSemaphore"
	WaitsForSeveral   Reason = "WaitsForSeveral"
	ConditionsNotMet  Reason = "ConditionsNotMet"
	ArrivalsMissing   Reason = "ArrivalsMissing"
	LeaseHeld         Reason = "LeaseHeld"
	PermitsInUse      Reason = "PermitsInUse"
	PermitsReserved   Reason = "PermitsReserved"
	JobNotFinished    Reason = "JobNotFinished"
)

// Reasons for which it never goes on, as things stand.
const (
	DeadlockFound           Reason = "Deadlock"
	GateCycle               Reason = "GateCycle"
	PossibleDeadlock        Reason = "PossibleDeadlock"
	BarrierExceedsSemaphore Reason = "BarrierExceedsSemaphore"
	NobodyLeftToArrive      Reason = "NobodyLeftToArrive"
	AsksTooMuch             Reason = "AsksTooMuch"
	BarrierFailed           Reason = "BarrierFailed"
	BarrierTimedOut         Reason = "BarrierTimedOut"
	GateFailed              Reason = "GateFailed"
	GateTimedOut            Reason = "GateTimedOut"
	JobFailed               Reason = "JobFailed"
	PodFailed               Reason = "PodFailed"
	NamespaceDenied         Reason = "NamespaceDenied"
	WrongState              Reason = "WrongState"
)

// Reasons for which somebody has to do something, or to be waited for.
const (
	BarrierMissing         Reason = "BarrierMissing"
	GateMissing            Reason = "GateMissing"
	LeaseMissing           Reason = "LeaseMissing"
	SemaphoreMissing       Reason = "SemaphoreMissing"
	JobMissing             Reason = "JobMissing"
	PodMissing             Reason = "PodMissing"
	OperatorSilent         Reason = "OperatorSilent"
	SemaphorePaused        Reason = "SemaphorePaused"
	JobSuspended           Reason = "JobSuspended"
	JobWithoutPods         Reason = "JobWithoutPods"
	JobBacksOff            Reason = "JobBacksOff"
	PodUnschedulable       Reason = "PodUnschedulable"
	PodSchedulingGated     Reason = "PodSchedulingGated"
	PodPending             Reason = "PodPending"
	PodTerminating         Reason = "PodTerminating"
	PodNodeLost            Reason = "PodNodeLost"
	PodStarting            Reason = "PodStarting"
	ImagePullFails         Reason = "ImagePullFails"
	ContainerCrashes       Reason = "ContainerCrashes"
	ContainerMisconfigured Reason = "ContainerMisconfigured"
	Unreadable             Reason = "Unreadable"
)

// urgency orders reasons by how much they explain, the most first: what will never be before what somebody must do,
// before what just takes its time.
func (r Reason) urgency() int {
	switch r {
	case DeadlockFound, GateCycle:
		return 0
	case BarrierExceedsSemaphore, NobodyLeftToArrive, AsksTooMuch, BarrierFailed, BarrierTimedOut, GateFailed, GateTimedOut,
		JobFailed, PodFailed, NamespaceDenied, WrongState:
		return 1
	case PossibleDeadlock:
		return 2
	case OperatorSilent, SemaphorePaused, JobSuspended, PodUnschedulable, PodSchedulingGated, PodNodeLost, ImagePullFails,
		ContainerCrashes, ContainerMisconfigured, JobBacksOff:
		return 3
	case BarrierMissing, GateMissing, LeaseMissing, SemaphoreMissing, JobMissing, PodMissing, JobWithoutPods, PodTerminating:
		return 4
	case PodPending, PodStarting, Unreadable, ArrivalsMissing, PermitsReserved:
		return 5
	case HeldOutside, Running, AboutToGo, LeaseHeld, PermitsInUse:
		return 6
	default:
		return 7
	}
}

// never reports whether it will not go on by itself, as things stand.
func (r Reason) never() bool { return r.urgency() <= 1 }

// fine reports whether nothing is the matter with the object.
func (r Reason) fine() bool {
	return r == Open || r == Available || r == Complete || r == AboutToGo || r == Running
}

// Reasons returns all reasons there are, in the order in which docs/why.md tells of them.
func Reasons() []Reason {
	return []Reason{
		Open, Available, Complete, AboutToGo, Running, HeldOutside,
		WaitsForGate, WaitsForBarrier, WaitsForLease, WaitsForSemaphore, WaitsForSeveral, ConditionsNotMet, ArrivalsMissing,
		LeaseHeld, PermitsInUse, PermitsReserved, JobNotFinished,
		DeadlockFound, GateCycle, PossibleDeadlock, BarrierExceedsSemaphore, NobodyLeftToArrive, AsksTooMuch, BarrierFailed,
		BarrierTimedOut, GateFailed, GateTimedOut, JobFailed, PodFailed, NamespaceDenied, WrongState,
		BarrierMissing, GateMissing, LeaseMissing, SemaphoreMissing, JobMissing, PodMissing, OperatorSilent, SemaphorePaused,
		JobSuspended, JobWithoutPods, JobBacksOff, PodUnschedulable, PodSchedulingGated, PodPending, PodTerminating,
		PodNodeLost, PodStarting, ImagePullFails, ContainerCrashes, ContainerMisconfigured, Unreadable,
	}
}

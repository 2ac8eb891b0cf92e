package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// GatePhase is the state of a Gate in one word.
// +kubebuilder:validation:Enum=Waiting;Open;Failed;Timeout
type GatePhase string

const (
	// GateWaiting means that at least one condition is not met yet.
	GateWaiting GatePhase = "Waiting"
	// GateOpen means that all conditions were met. It is final.
	GateOpen GatePhase = "Open"
	// GateFailed means that a condition can't be met any more unless the objects or the gate change.
	GateFailed GatePhase = "Failed"
	// GateTimeout means that spec.timeout passed before the gate opened. A longer timeout makes the gate wait again.
	GateTimeout GatePhase = "Timeout"
)

// GateConditionType is the kind of object that a condition observes.
// +kubebuilder:validation:Enum=Job;Barrier;Lease;Semaphore;Gate
type GateConditionType string

const (
	// GateOnJob observes a batch/v1 Job.
	GateOnJob GateConditionType = "Job"
	// GateOnBarrier observes a Barrier.
	GateOnBarrier GateConditionType = KindBarrier
	// GateOnLease observes a konductor Lease (never a coordination.k8s.io one).
	GateOnLease GateConditionType = KindLease
	// GateOnSemaphore observes a Semaphore.
	GateOnSemaphore GateConditionType = KindSemaphore
	// GateOnGate observes another Gate.
	GateOnGate GateConditionType = KindGate
)

// GateState is the state of its object that a condition requires.
// +kubebuilder:validation:Enum=Complete;Failed;Open;Timeout;Available;Held;Full
type GateState string

// States that a gate's condition can require.
const (
	StateComplete  GateState = "Complete"
	StateFailed    GateState = "Failed"
	StateOpen      GateState = "Open"
	StateTimeout   GateState = "Timeout"
	StateAvailable GateState = "Available"
	StateHeld      GateState = "Held"
	StateFull      GateState = "Full"
)

// GateCondition is one requirement that must be met before the gate opens.
// +kubebuilder:validation:XValidation:rule="!has(self.state) || (self.type == 'Job' ? self.state in ['Complete', 'Failed'] : self.type in ['Barrier', 'Gate'] ? self.state in ['Open', 'Failed', 'Timeout'] : self.type == 'Lease' ? self.state in ['Available', 'Held'] : self.state in ['Available', 'Full'])",message="state does not fit type: use Complete or Failed for a Job; Open, Failed or Timeout for a Barrier or a Gate; Available or Held for a Lease; Available or Full for a Semaphore"
// +kubebuilder:validation:XValidation:rule="!has(self.value) || (self.type == 'Semaphore' && (!has(self.state) || self.state == 'Available'))",message="value is the number of free permits to wait for and goes with type Semaphore and state Available only: leave it out"
type GateCondition struct {
	// type of the object: Job, Barrier, Lease, Semaphore or Gate.
	// +required
	Type GateConditionType `json:"type"`
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an object: lower-case letters, digits, - and . only, for example db-migration"
	Name string `json:"name"`
	// namespace of the object. Defaults to the gate's own. Another namespace must allow the gate with the annotation
	// konductor.io/allow-gates-from.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be the name of a namespace: lower-case letters, digits and - only, for example team-a"
	Namespace string `json:"namespace,omitempty"`
	// state to wait for: Complete or Failed for a Job; Open, Failed or Timeout for a Barrier or a Gate; Available or Held
	// for a Lease; Available or Full for a Semaphore. Defaults to the first one for the type.
	// +optional
	State GateState `json:"state,omitempty"`
	// value is how many permits must be free, at least 1. Defaults to 1. Only for a Semaphore that is to be Available.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Value *int32 `json:"value,omitempty"`
}

// GateSpec lists what a Gate waits for.
type GateSpec struct {
	// conditions that must be met, all at the same time, before the gate opens: 1 to 100. A condition that a Job, a Barrier
	// or a Gate has once met stays met when that object is deleted.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Conditions []GateCondition `json:"conditions"`
	// timeout is how long after its creation the gate stops waiting, for example 30m. If unset, it waits forever. Raising
	// it on a gate that has timed out makes the gate wait again.
	// +optional
	Timeout *Duration `json:"timeout,omitempty"`
	// ttlAfterFinished is how long after the gate opened, failed or timed out it is deleted. If unset, it is kept.
	// +optional
	TTLAfterFinished *Duration `json:"ttlAfterFinished,omitempty"`
}

// GateConditionStatus is the observed state of one condition.
type GateConditionStatus struct {
	// type of the object.
	// +required
	Type GateConditionType `json:"type"`
	// name of the object.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace of the object. Unset if it is the gate's own.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// state that the condition requires.
	// +optional
	State GateState `json:"state,omitempty"`
	// met says whether the condition is met.
	// +required
	Met bool `json:"met"`
	// message says what was observed, for people to read.
	// +optional
	// +kubebuilder:validation:MaxLength=32768
	Message string `json:"message,omitempty"`
	// uid of the object that met the condition. A new object of the same name is evaluated anew.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`
}

// GateStatus is the observed state of a Gate.
type GateStatus struct {
	// phase is Waiting, Open, Failed or Timeout.
	// +optional
	Phase GatePhase `json:"phase,omitempty"`
	// observedGeneration is the metadata.generation for which this status was written.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditionsMet is how many conditions are met.
	// +optional
	ConditionsMet int32 `json:"conditionsMet"`
	// conditionsTotal is how many conditions there are.
	// +optional
	ConditionsTotal int32 `json:"conditionsTotal"`
	// conditionStatuses are the observed states of the conditions, in the order of spec.conditions.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	ConditionStatuses []GateConditionStatus `json:"conditionStatuses,omitempty"`
	// openedAt is when the gate opened.
	// +optional
	OpenedAt *metav1.Time `json:"openedAt,omitempty"`
	// endedAt is when the gate failed or timed out.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
	// conditions are Ready and Open, and Deadlocked while the gate is in a wait cycle.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Gate opens when a list of conditions on other objects is met, and stays open.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=kgate,categories=konductor
// +kubebuilder:selectablefield:JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Met",type=integer,JSONPath=`.status.conditionsMet`
// +kubebuilder:printcolumn:name="Total",type=integer,JSONPath=`.status.conditionsTotal`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Open")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase != 'Open' || (has(self.status) && has(self.status.phase) && self.status.phase == 'Open')",message="an open gate stays open: delete it and create it again to start anew"
// +kubebuilder:validation:XValidation:rule="self.spec.conditions.all(c, c.type != 'Gate' || c.name != self.metadata.name || has(c.namespace))",message="a gate can't wait for itself: name another gate in spec.conditions"
type Gate struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state.
	// +required
	Spec GateSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status GateStatus `json:"status,omitzero"`
}

// GateList is a list of Gates.
// +kubebuilder:object:root=true
type GateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Gate `json:"items"`
}

// WantedState returns the state that the condition requires, which may be the default of its type.
func (c *GateCondition) WantedState() GateState {
	switch {
	case c.State != "":
		return c.State
	case c.Type == GateOnJob:
		return StateComplete
	case c.Type == GateOnBarrier, c.Type == GateOnGate:
		return StateOpen
	default:
		return StateAvailable
	}
}

// WantedPermits returns how many permits of a Semaphore the condition requires to be free.
func (c *GateCondition) WantedPermits() int32 {
	if c.Value == nil {
		return 1
	}
	return *c.Value
}

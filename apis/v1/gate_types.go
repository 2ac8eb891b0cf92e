package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// GatePhase is the state of a Gate in one word.
// +kubebuilder:validation:Enum=Waiting;Open;Failed;Timeout
type GatePhase string

const (
	// GateWaiting means that a condition is not met yet.
	GateWaiting GatePhase = "Waiting"
	// GateOpen means that all conditions were met. It is final.
	GateOpen GatePhase = "Open"
	// GateFailed means that a condition can't be met any more, as things stand.
	GateFailed GatePhase = "Failed"
	// GateTimeout means that spec.timeout passed first. A longer timeout makes the gate wait again.
	GateTimeout GatePhase = "Timeout"
)

// GateConditionType is the kind of object a condition looks at.
// +kubebuilder:validation:Enum=Job;Barrier;Lease;Semaphore;Gate
type GateConditionType string

const (
	// GateOnJob looks at a batch/v1 Job.
	GateOnJob GateConditionType = "Job"
	// GateOnBarrier looks at a Barrier.
	GateOnBarrier GateConditionType = KindBarrier
	// GateOnLease looks at a konductor Lease (never at a coordination.k8s.io one).
	GateOnLease GateConditionType = KindLease
	// GateOnSemaphore looks at a Semaphore.
	GateOnSemaphore GateConditionType = KindSemaphore
	// GateOnGate looks at another Gate.
	GateOnGate GateConditionType = KindGate
)

// GateState is the state that a condition asks of its object.
// +kubebuilder:validation:Enum=Complete;Failed;Open;Timeout;Available;Held;Full
type GateState string

// States that a gate's condition can ask for.
const (
	StateComplete  GateState = "Complete"
	StateFailed    GateState = "Failed"
	StateOpen      GateState = "Open"
	StateTimeout   GateState = "Timeout"
	StateAvailable GateState = "Available"
	StateHeld      GateState = "Held"
	StateFull      GateState = "Full"
)

// GateCondition is one thing that must hold before the gate opens.
// +kubebuilder:validation:XValidation:rule="!has(self.state) || (self.type == 'Job' ? self.state in ['Complete', 'Failed'] : self.type in ['Barrier', 'Gate'] ? self.state in ['Open', 'Failed', 'Timeout'] : self.type == 'Lease' ? self.state in ['Available', 'Held'] : self.state in ['Available', 'Full'])",message="state does not fit type: use Complete or Failed for a Job; Open, Failed or Timeout for a Barrier or a Gate; Available or Held for a Lease; Available or Full for a Semaphore"
// +kubebuilder:validation:XValidation:rule="!has(self.value) || (self.type == 'Semaphore' && (!has(self.state) || self.state == 'Available'))",message="value is the number of free permits to wait for and goes with type Semaphore and state Available only: leave it out"
type GateCondition struct {
	// Type of the object: Job, Barrier, Lease, Semaphore or Gate.
	Type GateConditionType `json:"type"`
	// Name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an object: lower-case letters, digits, - and . only, for example db-migration"
	Name string `json:"name"`
	// Namespace of the object, when it is not the gate's own. That namespace must allow it with the annotation
	// konductor.io/allow-gates-from.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be the name of a namespace: lower-case letters, digits and - only, for example team-a"
	Namespace string `json:"namespace,omitempty"`
	// State to wait for. When left out: Complete for a Job, Open for a Barrier or a Gate, Available for a Lease or a Semaphore.
	// +optional
	State GateState `json:"state,omitempty"`
	// Value is, for a Semaphore, how many permits must be free. 1 when left out.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Value *int32 `json:"value,omitempty"`
}

// GateSpec lists what a Gate waits for.
type GateSpec struct {
	// Conditions that must hold, all of them at the same time, before the gate opens. What a Job, a Barrier or a Gate
	// has once fulfilled stays fulfilled when that object is deleted.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Conditions []GateCondition `json:"conditions"`
	// Timeout is how long after its creation the gate stops waiting, for example 30m. It waits for ever when left out.
	// Raising it on a gate that has timed out makes the gate wait again.
	// +optional
	Timeout *Duration `json:"timeout,omitempty"`
	// TTL is how long after it opened, failed or timed out the gate is deleted. It is kept when left out.
	// +optional
	TTL *Duration `json:"ttl,omitempty"`
}

// GateConditionStatus is how one condition stands.
type GateConditionStatus struct {
	// Type of the object.
	Type GateConditionType `json:"type"`
	// Name of the object.
	Name string `json:"name"`
	// Namespace of the object, when it is not the gate's own.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// State that was asked for.
	// +optional
	State GateState `json:"state,omitempty"`
	// Met says whether the condition holds.
	Met bool `json:"met"`
	// Message says what was seen.
	// +optional
	Message string `json:"message,omitempty"`
	// UID of the object that fulfilled the condition: a new object of the same name is looked at anew.
	// +optional
	UID string `json:"uid,omitempty"`
}

// GateStatus is what the operator has seen.
type GateStatus struct {
	// Phase is Waiting, Open, Failed or Timeout.
	// +optional
	Phase GatePhase `json:"phase,omitempty"`
	// ObservedGeneration is the metadata.generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// ConditionsMet is how many conditions hold.
	// +optional
	ConditionsMet int32 `json:"conditionsMet"`
	// ConditionsTotal is how many conditions there are.
	// +optional
	ConditionsTotal int32 `json:"conditionsTotal"`
	// ConditionStatuses tells of each condition, in the order of spec.conditions.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	ConditionStatuses []GateConditionStatus `json:"conditionStatuses,omitempty"`
	// OpenedAt is when the gate opened.
	// +optional
	OpenedAt *metav1.Time `json:"openedAt,omitempty"`
	// EndedAt is when the gate failed or timed out.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
	// Conditions are Ready and Open, and Deadlocked while the gate is in a circle of waits.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Gate opens when a list of conditions on other objects holds, and stays open.
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
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec GateSpec `json:"spec"`
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

// WantedState returns the state that the condition asks for, the default of its type included.
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

// WantedPermits returns how many permits of a Semaphore the condition wants to be free.
func (c *GateCondition) WantedPermits() int32 {
	if c.Value == nil {
		return 1
	}
	return *c.Value
}

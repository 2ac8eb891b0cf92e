package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// HeldWorkload is what is known of a held Job or Pod.
type HeldWorkload struct {
	Workload
	// Kind is "job" or "pod", for messages.
	Kind string
	// State is its HeldLabel; empty: none yet.
	State string
	// Created is its creation time.
	Created time.Time
	// Suspended says that it can't run before the operator starts it: the Job is suspended, or the Pod has the operator's scheduling
	// gate. Failed implies Finished.
	Suspended, Finished, Failed bool
	// Deleting says that it is being deleted.
	Deleting bool
	// HoldsLeft says that a lease or semaphore still lists it as a holder, or that Pods of it may still run. It counts only while
	// the Job is being stopped.
	HoldsLeft bool
	// TemplateLocked says that the Job ran before and still has its start time. Then the API server doesn't let the fencing tokens in
	// its template be changed, and refuses the Job controller's status when it runs again.
	TemplateLocked bool
	// Released has the largest token that it can't be started with any more, by KIND/NAME.
	Released map[string]int64
	// Prerequisites has the state of each of Workload.After.
	Prerequisites []Prerequisite
	// Claims has the claim for each of Workload.Holds; nil: there is none.
	Claims []*WorkloadClaim
	// MissingTargets says for each of Workload.Holds that its lease or semaphore doesn't exist.
	MissingTargets []bool
	// NeedlessClaims are claims on limits which apply to the Job no longer. They are deleted unless it has been started.
	NeedlessClaims []*WorkloadClaim
	// SupersededBy is a newer Job of the same owner that waits as well, has WhenBusyNewest, and has taken its place in the queue;
	// empty: there is none.
	SupersededBy string
}

// isRestart reports whether the Job has run before, and was stopped. It then waits however long it takes.
func (j *HeldWorkload) isRestart() bool { return j.Released[ReleasedJob] > 0 }

// skipsAtOnce reports whether the Job doesn't wait at all for something with that WhenBusy.
func (j *HeldWorkload) skipsAtOnce(whenBusy string) bool {
	return whenBusy == konductorv1.WhenBusySkip && j.MaxWait == 0 && !j.isRestart()
}

// Prerequisite is the state of a gate or barrier that a workload waits for.
type Prerequisite struct {
	Open bool
	// Missing says that it doesn't exist.
	Missing bool
	// Failed says that it won't open by itself.
	Failed bool
	// Message says why it isn't open.
	Message string
}

// WorkloadClaim is the claim of a held Job or Pod.
type WorkloadClaim struct {
	Name    string
	UID     types.UID
	Phase   konductorv1.ClaimPhase
	Token   int64
	Message string
	// Retry says that it was refused and would not be any more: its target admits more permits, or a higher priority, than before.
	Retry bool
	// Busy says that it waits and that fewer permits are free than it asks for.
	Busy bool
	// Foreign says that the operator has not made it for this Job and this hold.
	Foreign bool
	// Deleting says that it is being deleted, which ends its hold.
	Deleting bool
}

// WorkloadDecision is what to do for a held Job or Pod, in this order. State, Suspend and Start are one write, conditional on the
// version of it that the decision was made for. Only Jobs are suspended, unlocked and replaced.
type WorkloadDecision struct {
	// State is the next HeldLabel.
	State string
	// Suspend says to suspend the Job.
	Suspend bool
	// Start says to start the Job, with Tokens.
	Start bool
	// UnlockTemplate says to make the template changeable first, and to decide again.
	UnlockTemplate bool
	// Tokens are the fencing tokens of its holds, in their order.
	Tokens []int64
	// DeleteClaims are claims that it needs no more.
	DeleteClaims []*WorkloadClaim
	// CreateClaim is the hold to claim next; nil: none. With NoWait the claim is refused unless it is granted at once.
	CreateClaim *WorkloadHold
	NoWait      bool
	// ReplaceRunning says to delete the Jobs of the same owner that have been started.
	ReplaceRunning bool
	// Events to record after the write.
	Events []Event
	// RequeueAfter is after what time to decide again if nothing else happens; zero: never.
	RequeueAfter time.Duration
}

// heldWorkloadPollInterval is how often it is checked whether Pods of a Job that is being stopped still run, or whether the claim of
// somebody else is gone.
const heldWorkloadPollInterval = 2 * time.Second

// DecideJob decides what to do for a held Job. Its holds are claimed one after the other, each when the one before it is
// granted, and the Job is started when all are. While it runs, it loses them only by the deletion or the end of a claim, and is
// suspended then.
func DecideJob(j *HeldWorkload, now Instant) WorkloadDecision {
	d := WorkloadDecision{State: j.State}
	switch {
	case j.Finished:
		d.State = konductorv1.HeldFinished
	case len(j.After)+len(j.Holds) == 0 && !j.Limited:
		// It only arrives.
	case j.Deleting:
		if j.Suspended && j.State != konductorv1.HeldStarted && j.State != konductorv1.HeldStopping {
			d.DeleteClaims = j.existingClaims()
		}
	case j.State == konductorv1.HeldStarted:
		j.decideStarted(&d)
	case j.State == konductorv1.HeldStopping:
		d.Suspend = !j.Suspended
		d.DeleteClaims = j.existingClaims()
		switch {
		case j.hasClaims() || !j.Suspended:
			// Their deletion enqueues the Job.
		case j.HoldsLeft:
			d.RequeueAfter = heldWorkloadPollInterval
		default:
			d.State = konductorv1.HeldWaiting
			if j.Paused {
				d.State = konductorv1.HeldPaused
			}
		}
	case !j.Suspended:
		d.State = ""
		d.DeleteClaims = j.existingClaims()
		d.warn(konductorv1.EventNotHeld, "the job runs without waiting and without its holds: it was not created with spec.suspend: true, or was started by hand. Delete it and create it again to use its annotations")
	case j.Paused:
		d.State = konductorv1.HeldPaused
		d.DeleteClaims = j.existingClaims()
	case j.State == konductorv1.HeldSkipped:
		d.DeleteClaims = j.existingClaims()
	default:
		d.State = konductorv1.HeldWaiting
		j.decideWaiting(&d, now)
	}
	return d
}

// DecidePod decides what to do for a held Pod: one behind the operator's scheduling gate. Its holds are claimed as those of a Job.
// Once it is started, nothing stops it, and its holds end with it.
func DecidePod(p *HeldWorkload, now Instant) WorkloadDecision {
	d := WorkloadDecision{State: p.State}
	switch {
	case p.Finished:
		d.State = konductorv1.HeldFinished
	case len(p.After)+len(p.Holds) == 0 && !p.Suspended:
		// It only arrives.
	case p.Deleting, p.State == konductorv1.HeldStarted:
		// Its claims end with it.
	case !p.Suspended:
		d.State = ""
		d.DeleteClaims = p.existingClaims()
		d.warn(konductorv1.EventNotHeld, "the pod runs without waiting and without its holds: it was created without scheduling gate "+konductorv1.HoldSchedulingGate+", or somebody has removed that. Delete it and create it again to use its annotations")
	case p.State == konductorv1.HeldSkipped:
		d.DeleteClaims = p.existingClaims()
	default:
		d.State = konductorv1.HeldWaiting
		p.decideWaiting(&d, now)
	}
	return d
}

// decideStarted stops a started Job that is paused, or that has lost a hold.
func (j *HeldWorkload) decideStarted(d *WorkloadDecision) {
	why := ""
	switch {
	case j.Paused:
		why = "the job is paused: remove the annotation " + konductorv1.PauseAnnotation + " and it waits again"
	case j.Suspended:
		why = "the job was suspended: it waits for its holds again. To pause it, set the annotation " + konductorv1.PauseAnnotation + ` to "true"`
	default:
		for i := range j.Holds {
			if !j.holds(i) {
				why = HoldEndedMessage(j.Holds[i].String())
				break
			}
		}
	}
	if why == "" {
		return
	}
	d.State, d.Suspend = konductorv1.HeldStopping, !j.Suspended
	d.DeleteClaims = j.existingClaims()
	d.warn(konductorv1.EventStopped, why)
}

// HoldEndedMessage returns the message of the Event for a Job that was stopped because it has lost a hold.
func HoldEndedMessage(object string) string {
	return fmt.Sprintf("the job was stopped because its hold of %s has ended: the hold was broken, or %[1]s was deleted. The job waits for it again", object)
}

// holds reports whether the Job has its hold number i.
func (j *HeldWorkload) holds(i int) bool {
	c := j.Claims[i]
	if failpointStartUngranted && c != nil {
		return true
	}
	return c != nil && !c.Deleting && !c.Foreign && c.Phase == konductorv1.ClaimGranted && c.Token > j.Released[j.Holds[i].String()]
}

// decideWaiting claims the next hold, starts the Job if it has all of them, or skips it.
func (j *HeldWorkload) decideWaiting(d *WorkloadDecision, now Instant) {
	if j.SupersededBy != "" {
		j.skip(d, "job "+j.SupersededBy+" is newer and waits in its place")
		return
	}
	waitsFor, notOpen, missing := "", false, false
	for i, state := range j.Prerequisites {
		// What was open once need not stay: a claim shows that everything was.
		if state.Open || j.hasOwnClaim() {
			continue
		}
		waitsFor, notOpen, missing = j.After[i].String(), true, state.Missing
		if state.Failed {
			d.warn(konductorv1.EventWaiting, fmt.Sprintf("the %s can't start: %s. Create %s again, or delete the %[1]s", j.Kind, state.Message, waitsFor))
		}
		break
	}
	d.DeleteClaims = append(d.DeleteClaims, withoutDeleting(j.NeedlessClaims)...)
	for i := range j.Holds {
		if waitsFor != "" {
			break
		}
		if j.holds(i) {
			d.Tokens = append(d.Tokens, j.Claims[i].Token)
			continue
		}
		// Whoever waits holds nothing that comes later in the order. Else two Jobs could wait for each other.
		behind := j.claimsAfter(i)
		d.DeleteClaims = append(d.DeleteClaims, withoutDeleting(behind)...)
		c := j.Claims[i]
		switch {
		case c == nil && len(behind) > 0:
			// Their deletion enqueues the Job.
		case c == nil:
			d.CreateClaim = &j.Holds[i]
			d.NoWait = j.skipsAtOnce(j.Holds[i].WhenBusy)
		case c.Deleting:
		case c.Foreign:
			// Its deletion doesn't enqueue the Job.
			d.DeleteClaims = append(d.DeleteClaims, c)
			d.RequeueAfter = heldWorkloadPollInterval
		case c.Phase == konductorv1.ClaimRefused && c.Message == konductorv1.MessageBusy && j.skipsAtOnce(j.Holds[i].WhenBusy):
			j.skip(d, j.Holds[i].String()+" is busy")
			return
		case phaseRank(c.Phase) == 0:
			d.ReplaceRunning = j.WhenBusy == konductorv1.WhenBusyReplace && c.Busy
		case c.Phase == konductorv1.ClaimRefused && c.Retry:
			d.DeleteClaims = append(d.DeleteClaims, c)
		case c.Phase == konductorv1.ClaimRefused:
			d.warn(konductorv1.EventWaiting, fmt.Sprintf("the %s can't start: the claim on %s was refused: %s", j.Kind, j.Holds[i], c.Message))
		case c.Phase == konductorv1.ClaimExpired, c.Phase == konductorv1.ClaimGranted:
			// The object was deleted, or the Job was started with this hold before.
			d.DeleteClaims = append(d.DeleteClaims, c)
		}
		waitsFor, missing = j.Holds[i].String(), j.MissingTargets[i]
	}
	if waitsFor == "" && len(j.NeedlessClaims) > 0 {
		return // Their deletion enqueues the Job.
	}
	if waitsFor == "" && j.TemplateLocked {
		d.UnlockTemplate = true
		return
	}
	if waitsFor == "" {
		d.Start, d.State = true, konductorv1.HeldStarted
		d.Events = append(d.Events, Event{Reason: konductorv1.EventStarted, Message: j.startText()})
		return
	}
	if j.MaxWait > 0 && !j.isRestart() {
		left := endOfSecond(j.Created.Add(j.MaxWait)).Sub(now.ServerTime)
		if left <= 0 {
			j.skip(d, fmt.Sprintf("it waited for %s for longer than its %s of %s", waitsFor, konductorv1.MaxWaitAnnotation, j.MaxWait))
			return
		}
		d.RequeueAfter = MinNonZero(d.RequeueAfter, left)
	} else if j.skipsAtOnce(j.WhenBusy) && notOpen {
		j.skip(d, waitsFor+" is not open")
		return
	}
	if j.State == "" {
		message := "the " + j.Kind + " waits for " + waitsFor
		if missing {
			message += ", which doesn't exist yet"
		}
		d.Events = append(d.Events, Event{Reason: konductorv1.EventWaiting, Message: message})
	}
}

// skip decides that the Job won't start.
func (j *HeldWorkload) skip(d *WorkloadDecision, why string) {
	*d = WorkloadDecision{State: konductorv1.HeldSkipped, DeleteClaims: j.existingClaims()}
	d.warn(konductorv1.EventSkipped, "the "+j.Kind+" is skipped: "+why)
}

func (j *HeldWorkload) startText() string {
	if len(j.Holds) == 0 {
		return "started: everything that it waited for is open"
	}
	var held []string
	for i := range j.Holds {
		held = append(held, fmt.Sprintf("%s (fencing token %d)", j.Holds[i], j.Claims[i].Token))
	}
	return "started: holds " + strings.Join(held, ", ")
}

// existingClaims returns the claims that are not being deleted.
func (j *HeldWorkload) existingClaims() []*WorkloadClaim {
	return withoutDeleting(slices.Concat(j.Claims, j.NeedlessClaims))
}

// withoutDeleting returns those that exist and are not being deleted.
func withoutDeleting(claims []*WorkloadClaim) (existing []*WorkloadClaim) {
	for _, c := range claims {
		if c != nil && !c.Deleting {
			existing = append(existing, c)
		}
	}
	return existing
}

// claimsAfter returns the claims for holds after number i that the operator has made.
func (j *HeldWorkload) claimsAfter(i int) (claims []*WorkloadClaim) {
	for _, c := range j.Claims[i+1:] {
		if c != nil && !c.Foreign {
			claims = append(claims, c)
		}
	}
	return claims
}

func (j *HeldWorkload) hasClaims() bool {
	for _, c := range j.Claims {
		if c != nil {
			return true
		}
	}
	return false
}

// hasOwnClaim reports whether the operator has claimed a hold for the Job.
func (j *HeldWorkload) hasOwnClaim() bool {
	return slices.ContainsFunc(j.Claims, func(c *WorkloadClaim) bool { return c != nil && !c.Foreign })
}

func (d *WorkloadDecision) warn(reason, message string) {
	d.Events = append(d.Events, Event{Warning: true, Reason: reason, Message: message})
}

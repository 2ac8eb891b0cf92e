package rules

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// HeldJob is what is known of a held Job.
type HeldJob struct {
	Workload
	// State is its HeldLabel; empty: none yet.
	State string
	// Created is its creation time.
	Created time.Time
	// Suspended, Finished and Failed are as the Job says. Failed implies Finished.
	Suspended, Finished, Failed bool
	// Deleting says that it is being deleted.
	Deleting bool
	// PodsRunning says that Pods of it may still run. It counts only while the Job is being stopped.
	PodsRunning bool
	// Released has the largest token that it can't be started with any more, by KIND/NAME.
	Released map[string]int64
	// Prerequisites has the state of each of Workload.After.
	Prerequisites []Prerequisite
	// Claims has the claim for each of Workload.Holds; nil: there is none.
	Claims []*JobClaim
	// SupersededBy is a newer Job of the same owner that waits as well, has WhenBusyNewest, and has taken its place in the queue;
	// empty: there is none.
	SupersededBy string
}

// skipsAtOnce reports whether the Job doesn't wait at all.
func (j *HeldJob) skipsAtOnce() bool { return j.WhenBusy == konductorv1.WhenBusySkip && j.MaxWait == 0 }

// Prerequisite is the state of a gate or barrier that a workload waits for.
type Prerequisite struct {
	Open bool
	// Failed says that it won't open by itself.
	Failed bool
	// Message says why it isn't open.
	Message string
}

// JobClaim is the claim of a held Job.
type JobClaim struct {
	Name    string
	UID     types.UID
	Phase   konductorv1.ClaimPhase
	Token   int64
	Message string
	// Retry says that it was refused and would not be any more: its target admits more permits, or a higher priority, than before.
	Retry bool
	// Deleting says that it is being deleted, which ends its hold.
	Deleting bool
}

// JobDecision is what to do for a held Job, in this order. State, Suspend and Start are one write, conditional on the version of
// the Job that the decision was made for.
type JobDecision struct {
	// State is the next HeldLabel.
	State string
	// Suspend says to suspend the Job.
	Suspend bool
	// Start says to start the Job, with Tokens.
	Start bool
	// Tokens are the fencing tokens of its holds, in their order.
	Tokens []int64
	// DeleteClaims are claims that it needs no more.
	DeleteClaims []*JobClaim
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

// podPollInterval is how often it is checked whether Pods of a Job that is being stopped still run.
const podPollInterval = 2 * time.Second

// DecideJob decides what to do for a held Job. Its holds are claimed one after the other, each when the one before it is
// granted, and the Job is started when all are. While it runs, it loses them only by the deletion or the end of a claim, and is
// suspended then.
func DecideJob(j *HeldJob, now Instant) JobDecision {
	d := JobDecision{State: j.State}
	switch {
	case j.Finished:
		d.State = konductorv1.HeldFinished
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
		case j.PodsRunning:
			d.RequeueAfter = podPollInterval
		default:
			d.State = konductorv1.HeldWaiting
			if j.Paused {
				d.State = konductorv1.HeldPaused
			}
		}
	case !j.Suspended:
		d.State = ""
		d.DeleteClaims = j.existingClaims()
		d.warn(konductorv1.EventNotHeld, "the job runs without its holds: it was not created with spec.suspend: true, or was started by hand")
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

// decideStarted stops a started Job that is paused, or that has lost a hold.
func (j *HeldJob) decideStarted(d *JobDecision) {
	why := ""
	switch {
	case j.Paused:
		why = "the job is paused: remove the annotation " + konductorv1.PauseAnnotation + " and it waits again"
	case j.Suspended:
		why = "the job was suspended: it waits for its holds again. To pause it, set the annotation " + konductorv1.PauseAnnotation + ` to "true"`
	default:
		for i := range j.Holds {
			if !j.holds(i) {
				why = fmt.Sprintf("the hold of %s has ended: the job waits for it again", j.Holds[i])
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

// holds reports whether the Job has its hold number i.
func (j *HeldJob) holds(i int) bool {
	c := j.Claims[i]
	if failpointStartUngranted && c != nil {
		return true
	}
	return c != nil && !c.Deleting && c.Phase == konductorv1.ClaimGranted && c.Token > j.Released[j.Holds[i].String()]
}

// decideWaiting claims the next hold, starts the Job if it has all of them, or skips it.
func (j *HeldJob) decideWaiting(d *JobDecision, now Instant) {
	if j.SupersededBy != "" {
		j.skip(d, "job "+j.SupersededBy+" is newer and waits in its place")
		return
	}
	waitsFor, notOpen := "", false
	for i, state := range j.Prerequisites {
		if state.Open {
			continue
		}
		waitsFor, notOpen = j.After[i].String(), true
		if state.Failed {
			d.warn(konductorv1.EventWaiting, "the job can't start: "+state.Message)
		}
		break
	}
	for i := range j.Holds {
		if waitsFor != "" {
			break
		}
		c := j.Claims[i]
		switch {
		case j.holds(i):
			d.Tokens = append(d.Tokens, c.Token)
			continue
		case c == nil:
			d.CreateClaim = &j.Holds[i]
			d.NoWait = j.skipsAtOnce()
		case c.Deleting:
		case c.Phase == konductorv1.ClaimRefused && c.Message == konductorv1.MessageBusy && j.skipsAtOnce():
			j.skip(d, j.Holds[i].String()+" is busy")
			return
		case phaseRank(c.Phase) == 0:
			d.ReplaceRunning = j.WhenBusy == konductorv1.WhenBusyReplace
		case c.Phase == konductorv1.ClaimRefused && c.Retry:
			d.DeleteClaims = append(d.DeleteClaims, c)
		case c.Phase == konductorv1.ClaimRefused:
			d.warn(konductorv1.EventWaiting, fmt.Sprintf("the job can't start: the claim on %s was refused: %s", j.Holds[i], c.Message))
		case c.Phase == konductorv1.ClaimExpired, c.Phase == konductorv1.ClaimGranted:
			// The object was deleted, or the Job was started with this hold before.
			d.DeleteClaims = append(d.DeleteClaims, c)
		}
		waitsFor = j.Holds[i].String()
	}
	if waitsFor == "" {
		d.Start, d.State = true, konductorv1.HeldStarted
		d.Events = append(d.Events, Event{Reason: konductorv1.EventStarted, Message: j.startText()})
		return
	}
	if j.MaxWait > 0 {
		left := endOfSecond(j.Created.Add(j.MaxWait)).Sub(now.ServerTime)
		if left <= 0 {
			j.skip(d, fmt.Sprintf("it waited for %s for longer than its %s of %s", waitsFor, konductorv1.MaxWaitAnnotation, j.MaxWait))
			return
		}
		d.RequeueAfter = left
	} else if j.skipsAtOnce() && notOpen {
		j.skip(d, waitsFor+" is not open")
		return
	}
	if j.State == "" {
		d.Events = append(d.Events, Event{Reason: konductorv1.EventWaiting, Message: "the job waits for " + waitsFor})
	}
}

// skip decides that the Job won't start.
func (j *HeldJob) skip(d *JobDecision, why string) {
	*d = JobDecision{State: konductorv1.HeldSkipped, DeleteClaims: j.existingClaims()}
	d.warn(konductorv1.EventSkipped, "the job is skipped: "+why)
}

func (j *HeldJob) startText() string {
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
func (j *HeldJob) existingClaims() (claims []*JobClaim) {
	for _, c := range j.Claims {
		if c != nil && !c.Deleting {
			claims = append(claims, c)
		}
	}
	return claims
}

func (j *HeldJob) hasClaims() bool {
	for _, c := range j.Claims {
		if c != nil {
			return true
		}
	}
	return false
}

func (d *JobDecision) warn(reason, message string) {
	d.Events = append(d.Events, Event{Warning: true, Reason: reason, Message: message})
}

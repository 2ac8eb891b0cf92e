package controller

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

const (
	// stoppingJobPollInterval is how often it is checked whether Pods of a Job still run that was deleted or suspended, besides
	// the times at which the watch shows an end of one.
	stoppingJobPollInterval = 2 * time.Second
	// jobControllerLag is how long the Job controller may go on creating Pods of a Job after it was deleted or suspended: it
	// acts on a cache of its own. Nothing in a Job says up to which change it has been observed.
	jobControllerLag = 5 * time.Second
	// maxRememberedStops is how many stops jobStopper remembers before it forgets those that are over.
	maxRememberedStops = 10000
)

// jobStopper ends the holds of Jobs that have not finished: those that were deleted, and those whose hold was broken. Each
// controller has its own. It is safe for concurrent use.
type jobStopper struct {
	client   client.Client
	live     client.Reader
	clock    Clock
	recorder record.EventRecorder

	mu sync.Mutex
	// stops has a Job that is gone by its UID, and one that is suspended because a hold of it has ended by the UID of the hold's
	// claim.
	stops map[types.UID]*jobStop
}

// jobStop is what is known of the stop of a Job.
type jobStop struct {
	since     time.Duration // when the Job was first known to be gone or suspended; zero: it isn't yet
	checkedAt time.Duration // when the API server was asked last
}

func newJobStopper(deps *Deps) *jobStopper {
	return &jobStopper{client: deps.Client, live: deps.APIReader, clock: deps.Clock, recorder: deps.Recorder, stops: map[types.UID]*jobStop{}}
}

// stop suspends the Job of a hold whose claim is deleted or has ended, and reports whether the hold is over: the Job can't start
// with it any more, and no Pod of it may still run.
//
// The write to the Job makes every start fail that was decided without it, and names the hold's token, so that no later start
// can be decided by an operator whose cache still has the claim.
func (s *jobStopper) stop(ctx context.Context, namespace, target string, h *konductorv1.Holder) (bool, error) {
	if !s.startCheckIfDue(h.ClaimUID) {
		return false, nil
	}
	key := types.NamespacedName{Namespace: namespace, Name: h.Job.Name}
	job, err := getLiveJob(ctx, s.live, key, h.Job.UID)
	if err != nil {
		return false, err
	}
	if job != nil && isJobFinished(job) {
		return true, nil
	}
	neverStarted, used := false, false
	if job != nil {
		released := rules.ParseReleasedTokens(job.Annotations[konductorv1.ReleasedTokensAnnotation])
		state := job.Labels[konductorv1.HeldLabel]
		neverStarted = state != konductorv1.HeldStarted && state != konductorv1.HeldStopping && isSuspended(job) && released[rules.ReleasedJob] == 0
		// A Job may have given a hold back while it waited, and have been started without it, or with a later one.
		token := startedWithToken(job, target)
		used = neverStarted || state != konductorv1.HeldStarted || isSuspended(job) || token > 0 && token <= h.FencingToken
		if used && !isSuspended(job) || released[target] < h.FencingToken {
			next := job.DeepCopy()
			released[target] = max(released[target], h.FencingToken)
			if used {
				suspend := true
				next.Spec.Suspend = &suspend
				if !neverStarted {
					released[rules.ReleasedJob] = 1
					metav1.SetMetaDataLabel(&next.ObjectMeta, konductorv1.HeldLabel, konductorv1.HeldStopping)
				}
			}
			metav1.SetMetaDataAnnotation(&next.ObjectMeta, konductorv1.ReleasedTokensAnnotation, rules.FormatReleasedTokens(released))
			if err := s.client.Patch(ctx, next, client.MergeFromWithOptions(job, client.MergeFromWithOptimisticLock{})); apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				return false, nil
			} else if err != nil {
				return false, fmt.Errorf("suspending job %s: %w", key, err)
			}
			if used && !isSuspended(job) {
				s.restart(h.ClaimUID) // The Job controller may have seen the Job run.
			}
			if used && state == konductorv1.HeldStarted {
				s.recorder.Event(job, corev1.EventTypeWarning, konductorv1.EventStopped, rules.HoldEndedMessage(target))
			}
		}
		if !used {
			return true, nil
		}
	}
	if neverStarted {
		running, err := s.hasRunningPods(ctx, namespace, h.Job.UID)
		return err == nil && !running, err
	}
	return s.arePodsGone(ctx, namespace, h.Job.UID, h.ClaimUID)
}

// startedWithToken returns the fencing token of an object, given as KIND/NAME, with which a Job was started last; 0: without one.
func startedWithToken(job *batchv1.Job, object string) int64 {
	kind, name, _ := strings.Cut(object, "/")
	token, err := strconv.ParseInt(tokenInTemplate(job, kind, name), 10, 64)
	if err != nil {
		return 0
	}
	return token
}

// restart forgets since when a Job was suspended.
func (s *jobStopper) restart(stop types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobStopLocked(stop).since = 0
}

// areDeletedJobPodsGone reports whether no Pod of a Job that is gone may still run, now or later.
func (s *jobStopper) areDeletedJobPodsGone(ctx context.Context, namespace string, job types.UID) (bool, error) {
	return s.arePodsGone(ctx, namespace, job, job)
}

// arePodsGone reports whether no Pod of a Job may still run, now or later: the API server has none that has not finished, and
// jobControllerLag has passed since the first call for that stop.
func (s *jobStopper) arePodsGone(ctx context.Context, namespace string, job, stop types.UID) (bool, error) {
	if ignoreJobPods {
		return true, nil
	}
	now := s.clock.Now().Monotonic
	s.mu.Lock()
	progress := s.jobStopLocked(stop)
	if progress.since == 0 {
		progress.since = now
	}
	since := progress.since
	s.mu.Unlock()
	if running, err := s.hasRunningPods(ctx, namespace, job); err != nil || running || now-since < jobControllerLag {
		return false, err
	}
	return true, nil // What is known of the stop stays for a while: it may be asked for once more.
}

// startCheckIfDue reports whether the API server should be asked about a stop. A busy semaphore is reconciled very often.
func (s *jobStopper) startCheckIfDue(stop types.UID) bool {
	now := s.clock.Now().Monotonic
	s.mu.Lock()
	defer s.mu.Unlock()
	progress := s.jobStopLocked(stop)
	if progress.checkedAt != 0 && now-progress.checkedAt < stoppingJobPollInterval/2 {
		return false
	}
	progress.checkedAt = now
	return true
}

// jobStopLocked returns what is known of a stop. The caller holds s.mu.
func (s *jobStopper) jobStopLocked(stop types.UID) *jobStop {
	progress, ok := s.stops[stop]
	if !ok {
		if len(s.stops) >= maxRememberedStops {
			// What nobody asks for any more is over. Each hold that has not ended is asked for every few seconds.
			now := s.clock.Now().Monotonic
			maps.DeleteFunc(s.stops, func(_ types.UID, old *jobStop) bool { return now-old.checkedAt > time.Minute })
		}
		progress = &jobStop{}
		s.stops[stop] = progress
	}
	return progress
}

// hasRunningPods reports whether the API server has a Pod of the Job that has not finished.
func (s *jobStopper) hasRunningPods(ctx context.Context, namespace string, job types.UID) (bool, error) {
	unfinished := fields.AndSelectors(
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)), fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)))
	var pods corev1.PodList
	err := s.live.List(ctx, &pods, client.InNamespace(namespace), client.Limit(1), client.MatchingLabels{batchv1.ControllerUidLabel: string(job)},
		client.MatchingFieldsSelector{Selector: unfinished})
	if err != nil {
		return false, fmt.Errorf("listing the pods of job %s: %w", job, err)
	}
	return len(pods.Items) > 0, nil
}

func isSuspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

package pods

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// grant is one hold, from the revision at which it was granted to the one at which it ended.
type grant struct {
	konductorv1.Holder
	grantedAtRevision, endedAtRevision uint64    // endedAtRevision is 0 while it is held
	seenAt                             time.Time // when the grant was received here
}

// checkedGrants reads the history of one Lease or Semaphore, revision by revision, and returns all grants, in the order of their
// tokens. It fails the test when at any revision there were more holds than permits, when a token was not larger than all before
// it, or when a hold changed its token or came back.
func checkedGrants[T client.Object](c *revisionLog[T], name string) []grant {
	c.env.Helper()
	ever := map[types.UID]*grant{}
	top := int64(0)
	for _, e := range c.history() {
		if e.obj.GetName() != name {
			continue
		}
		permits, holders := holdersOf(e.obj)
		if e.deleted {
			holders = nil
		}
		inUse, current := int32(0), map[types.UID]bool{}
		highest := top
		for _, h := range holders {
			inUse += h.Permits
			current[h.ClaimUID] = true
			g, known := ever[h.ClaimUID]
			switch {
			case !known && h.FencingToken <= top:
				c.env.Errorf("%s: revision %d grants %s token %d after token %d", name, e.revision, h.Name, h.FencingToken, top)
			case known && g.endedAtRevision != 0:
				c.env.Errorf("%s: the hold of %s, over since revision %d, is back at %d", name, h.Name, g.endedAtRevision, e.revision)
			case known && g.FencingToken != h.FencingToken:
				c.env.Errorf("%s: the token of %s went from %d to %d at revision %d", name, h.Name, g.FencingToken, h.FencingToken, e.revision)
			}
			if !known {
				ever[h.ClaimUID] = &grant{Holder: h, grantedAtRevision: e.revision, seenAt: e.receivedAt}
			}
			highest = max(highest, h.FencingToken)
		}
		top = highest
		if inUse > permits {
			c.env.Errorf("%s: at revision %d there are %d permits held of %d, by %s", name, e.revision, inUse, permits, holderNames(holders))
		}
		for uid, g := range ever {
			if !current[uid] && g.endedAtRevision == 0 {
				g.endedAtRevision = e.revision
			}
		}
	}
	all := make([]grant, 0, len(ever))
	for _, g := range ever {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b grant) int { return cmp.Compare(a.FencingToken, b.FencingToken) })
	return all
}

// holdersOf returns the number of permits, and the holders.
func holdersOf(obj client.Object) (permits int32, holders []konductorv1.Holder) {
	switch obj := obj.(type) {
	case *konductorv1.Lease:
		return 1, obj.Status.Holders()
	case *konductorv1.Semaphore:
		return obj.Spec.Permits, obj.Status.Holders
	default:
		panic(fmt.Sprintf("%T is not held by anybody", obj))
	}
}

func holderNames(holders []konductorv1.Holder) string {
	all := make([]string, len(holders))
	for i, h := range holders {
		all[i] = h.Name
	}
	return strings.Join(all, ", ")
}

// isHeld reports whether the lease has a holder.
func isHeld(l *konductorv1.Lease) bool { return l.Status.Holder != "" }

// isIdle reports whether the semaphore has no holders and no waiters.
func isIdle(s *konductorv1.Semaphore) bool {
	return s.Status.Phase != "" && len(s.Status.Holders) == 0 && s.Status.InUse == 0 && s.Status.Waiting == 0
}
